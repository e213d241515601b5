"""HTTP to one server over one kept connection.

Owns: a connection, its deadline, and the key in its header. The standard library's client is used: each loop has one
connection to one host, so a pool would hold one entry; retries are the caller's own rules, which a library
would only get in the way of; and redirects are never followed, so the key goes to no other host.

Never: logs a header. Not thread-safe, `abort` apart.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# A frame is a JPEG of at most 3840 pixels; anything much larger is not meant for us.
MAX_BODY = 64 * 1024 * 1024
USER_AGENT = "heldar-worker/0.1.0"


class TransportError(Exception):
    """No usable answer: refused, timed out, cut off, or not HTTP."""


@dataclass(frozen=True)
class Response:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError`."""
        return json.loads(self.body)

    def error(self) -> str:
        """The server's words about an error, short enough for a log line."""
        try:
            value = self.json()
            text = value.get("error") if isinstance(value, dict) else None
        except ValueError:
            text = None
        shown = text if isinstance(text, str) else self.body[:200].decode("utf-8", "replace")
        return f"{self.status} {shown[:200]}".strip()

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait."""
        value = self.headers.get("retry-after", "").strip()
        return float(value) if value.isascii() and value.isdigit() else None


class Client:
    """One kept connection to `base`, opened on first use and again when it broke."""

    def __init__(self, base: str, api_key: str | None, timeout: float) -> None:
        parts = urlsplit(base)
        self._host = parts.hostname or "localhost"
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout
        self._headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
        if api_key:
            self._headers["X-API-Key"] = api_key
        self._connection: http.client.HTTPConnection | None = None
        self._cancellable = False

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        extra_time: float = 0.0,
        cancel: threading.Event | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Send one request; `extra_time` seconds are added where the server was asked to wait.

        With `cancel`, another thread may set it and call `abort`. Raises `TransportError`. A kept connection
        that the server closed meanwhile is replaced once without notice: every request of a worker may be
        sent twice without harm.
        """
        reused = self._connection is not None
        self._cancellable = cancel is not None
        try:
            try:
                return self._send(method, path, body, extra_time, cancel, headers)
            except ConnectionError:
                if not reused or (cancel is not None and cancel.is_set()):
                    raise
                self.close()
                return self._send(method, path, body, extra_time, cancel, headers)
        except (OSError, http.client.HTTPException, ValueError) as cause:
            self.close()
            raise TransportError(str(cause) or type(cause).__name__) from cause
        finally:
            self._cancellable = False

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        extra_time: float,
        cancel: threading.Event | None,
        extra: Mapping[str, str] | None,
    ) -> Response:
        connection = self._connection
        if connection is None:
            connection = self._open()
        # Looked at after the connection is known to `abort`: either it sees the socket or this sees the event.
        if cancel is not None and cancel.is_set():
            raise ConnectionError("cancelled")
        connection.sock.settimeout(self._timeout + extra_time)
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        headers.update(extra or {})
        connection.request(method, self._prefix + path, body, headers)
        answer = connection.getresponse()
        data = _body(answer)
        if answer.will_close:
            self.close()
        return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, data)

    def _open(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        connection.connect()
        # Small requests and their bodies leave at once.
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        return connection

    def abort(self) -> None:
        """Cut a request that waits, from another thread; it raises `TransportError` there."""
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None and self._cancellable:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _body(answer: http.client.HTTPResponse) -> bytes:
    """The whole body, within `MAX_BODY`."""
    # Never read with a large limit: Python before 3.10 clears a buffer of that size first.
    if answer.length is not None and answer.length <= MAX_BODY:
        return answer.read()
    parts, total = [], 0
    while chunk := answer.read(1 << 16):
        parts.append(chunk)
        total += len(chunk)
        if total > MAX_BODY:
            raise ValueError("answer is too large")
    return b"".join(parts)
