"""Teaches schemathesis to send the bodies that are text of a type of their own, and to look for what nobody may be told."""

import os

import schemathesis


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def text(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", errors="ignore")


@schemathesis.check
def hidden_camera_is_never_named(ctx, response, case):
    """HIDDEN is the id of a camera that who asks may not know of."""
    hidden = os.environ.get("HIDDEN")
    if hidden and hidden.encode() in response.content.lower():
        raise AssertionError(f"the answer names {hidden}")
