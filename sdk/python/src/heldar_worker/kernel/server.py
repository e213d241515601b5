"""The testing kernel's HTTP side: one process, threads, loopback.

Owns: connections, credentials, the record of requests, and the seam through which a test makes the server
misbehave. What the routes answer is in `routes`.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional
from urllib.parse import parse_qsl, urlsplit

from .ingest import Ingest
from .messages import Reply, Request
from .ring import Demand, Unit
from .routes import answer
from .sources import DrawnSource, Source
from .state import RefusedError, State, Task

_BODY_LIMIT = 8 * 1024 * 1024
_RECORDS = 50_000


#: Looks at a request before the routes do; an answer of its own replaces theirs.
Intercept = Callable[[Request], Optional[Reply]]


class Kernel:
    """A testing kernel on a free port of this machine, until closed."""

    def __init__(
        self,
        cameras: Mapping[str, Callable[[], Source]] | None = None,
        *,
        keys: Mapping[str, str] | None = None,
        require_tickets: bool = False,
        leases: bool = True,
        loop: bool = True,
        ticket_ttl: float = 120.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`cameras` maps ids to sources of pictures; `keys` maps API keys to their ids, none = open access."""
        self.sources = dict(cameras) if cameras is not None else {"cam_test": DrawnSource}
        self.keys = dict(keys or {})
        self.leases = leases
        self.ticket_ttl = ticket_ttl
        self.secret = secrets.token_bytes(32)
        self.state = State(list(self.sources))
        self.ingest = Ingest(self.state, self.secret, require_tickets)
        self.requests: deque[Request] = deque(maxlen=_RECORDS)
        self.intercept: Intercept | None = None
        self._loop = loop
        self._units: dict[tuple[str, str], Unit] = {}
        self._recorded = threading.Condition()
        self._server = _Server((host, port), _handler_for(self))
        self.url = f"http://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="kernel", daemon=True).start()

    def add_task(self, task_type: str = "test", camera_id: str | None = None, **fields: Any) -> Task:
        """Create a task as the management route would."""
        body = {"task_type": task_type, **fields}
        _, task = self.state.create(camera_id or next(iter(self.sources)), body)
        self.plan()
        return task

    def change_task(self, task_id: str, **fields: Any) -> Task:
        """Change a task as the management route would."""
        task = self.state.update(task_id, fields)
        self.plan()
        return task

    def remove_task(self, task_id: str) -> None:
        """Delete a task as the management route would."""
        self.state.delete(task_id)
        self.plan()

    def plan(self) -> None:
        """Make the units fit the tasks; a unit whose demand is the same is not touched."""
        with self.state.lock:
            wanted: dict[tuple[str, str], dict[str, Demand]] = {}
            for task in self.state.tasks.values():
                if task.enabled:
                    unit = wanted.setdefault((task.camera_id, task.stream_profile), {})
                    unit[task.id] = Demand(task.fps, task.width)
            for key, demands in wanted.items():
                if key not in self._units:
                    self._units[key] = Unit(self.sources[key[0]], loop=self._loop)
                self._units[key].demand(demands)
            gone = [self._units.pop(key) for key in list(self._units) if key not in wanted]
        for old in gone:
            old.close()

    def unit(self, camera_id: str, profile: str = "sub") -> Unit | None:
        """The running unit, if any task needs it."""
        with self.state.lock:
            return self._units.get((camera_id, profile))

    def credential(self, headers: Mapping[str, str]) -> str:
        """The id of the caller's key. Raises `RefusedError`."""
        bearer = headers.get("authorization", "")
        given = bearer[7:].strip() if bearer[:7].lower() == "bearer " else headers.get("x-api-key", "").strip()
        if given:
            # An open kernel takes any key, so that a worker's handling of keys can be tested.
            known = self.keys.get(given, "system" if not self.keys else None)
            if known is None:
                raise RefusedError(401, "invalid or expired credentials")
            return known
        if self.keys:
            raise RefusedError(401, "authentication required")
        return "system"

    def record(self, request: Request) -> None:
        """Keep an answered request and wake those who wait for one."""
        with self._recorded:
            self.requests.append(request)
            self._recorded.notify_all()

    def wait_for(self, condition: Callable[[Kernel], Any], timeout: float = 10.0) -> bool:
        """Wait until `condition` holds; it is looked at after every request. Whether it came to hold."""
        with self._recorded:
            return bool(self._recorded.wait_for(lambda: condition(self), timeout))

    def seen(self, method: str, part: str) -> list[Request]:
        """Answered requests of a method whose path holds `part`."""
        return [r for r in list(self.requests) if r.method == method and part in r.path]

    def close(self) -> None:
        """Stop everything."""
        self._server.shutdown()
        with self.state.lock:
            units = list(self._units.values())
            self._units.clear()
        for unit in units:
            unit.close()
        self._server.server_close()

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A worker that hangs up is no news."""


def _handler_for(kernel: Kernel) -> type[BaseHTTPRequestHandler]:

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 60
        # One packet per answer.
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            """The record of requests says more."""

        def _serve(self) -> None:
            began = time.monotonic()
            parts = urlsplit(self.path)
            headers = {k.lower(): v for k, v in self.headers.items()}
            length = int(headers.get("content-length", "0") or 0)
            request = Request(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                headers,
                self.rfile.read(length) if length <= _BODY_LIMIT else b"",
                time.time(),
            )
            if length > _BODY_LIMIT:
                self.close_connection = True
                reply = Reply(413, {"error": "body too large", "code": "too_large"})
            else:
                intercept = kernel.intercept
                reply = (intercept(request) if intercept is not None else None) or answer(kernel, request)
            request.reply, request.took = reply, time.monotonic() - began
            # Before the bytes leave: who has the answer can rely on the record.
            kernel.record(request)
            if reply.hang_up:
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            payload = reply.payload()
            self.send_response_only(reply.status)
            if "Content-Type" not in reply.headers and payload:
                self.send_header("Content-Type", "application/json")
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status not in (204, 304):
                self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            if reply.status not in (204, 304):
                self.wfile.write(payload)
            self.wfile.flush()

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = do_HEAD = _serve  # noqa: N815 - names the library calls

    return Handler
