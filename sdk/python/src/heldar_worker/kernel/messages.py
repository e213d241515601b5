"""Requests and replies of the testing kernel as values.

Owns: their form, and the reading of JSON bodies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .state import RefusedError


@dataclass
class Reply:
    """An answer; `body` that is no bytes becomes JSON. `hang_up` closes the connection without any answer."""

    status: int
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False

    def payload(self) -> bytes:
        """The bytes to send."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Request:
    """A request, and what was answered: the record a test reads."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    raw: bytes
    at: float
    reply: Reply | None = None
    #: Seconds from request to answer.
    took: float = 0.0

    def json(self) -> Any:
        """The body as JSON. Raises `RefusedError`."""
        if "json" not in self.headers.get("content-type", ""):
            raise RefusedError(415, "a JSON content type is expected", "unsupported_media_type")
        try:
            value = json.loads(self.raw)
        except ValueError:
            raise RefusedError(400, "the body is no JSON", "invalid_json") from None
        if not isinstance(value, dict):
            raise RefusedError(422, "an object is expected", "invalid_body")
        return value
