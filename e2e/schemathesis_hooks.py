"""Teaches schemathesis to send the bodies that are text of a type of their own."""

import schemathesis


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def text(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", errors="ignore")
