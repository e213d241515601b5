"""Frame tickets: proof that a result belongs to a picture that was served.

Owns: the wire form and signature of the contract (6.4). Pure: time and secret are inputs.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True)
class Ticket:
    """The parts of a ticket as they travel."""

    task_id: str
    captured_ms: int
    expiry: int
    signature: str

    @classmethod
    def parse(cls, text: str) -> Ticket | None:
        """The parts, or None when it is malformed."""
        parts = text.split(".")
        if len(parts) != 5 or parts[0] != "f1" or not all(parts):
            return None
        if not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts[2:4]):
            return None
        return cls(parts[1], int(parts[2]), int(parts[3]), parts[4])

    def holds(self, secret: bytes, key_id: str, camera_id: str, now: float) -> bool:
        """Whether it was made for this key and camera, and has not expired."""
        wanted = _signature(secret, key_id, camera_id, self.task_id, self.captured_ms, self.expiry)
        return hmac.compare_digest(wanted.encode(), self.signature.encode("utf-8", "replace")) and now < self.expiry


def mint(secret: bytes, key_id: str, camera_id: str, task_id: str, captured_ms: int, expiry: int) -> str | None:
    """A ticket, or None when an id could not be told apart inside it."""
    if any(not t or any(c in t for c in ".\r\n") for t in (key_id, camera_id, task_id)):
        return None
    signature = _signature(secret, key_id, camera_id, task_id, captured_ms, expiry)
    return f"f1.{task_id}.{captured_ms}.{expiry}.{signature}"


def _signature(secret: bytes, key_id: str, camera_id: str, task_id: str, captured_ms: int, expiry: int) -> str:
    text = "\n".join(("f1", key_id, camera_id, task_id, str(captured_ms), str(expiry)))
    digest = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
