"""What the testing kernel answers, route by route.

Owns: paths, queries, headers and status codes of the workers' side (contract 3, 4, 6, 8, and the lists of
5.1, 11.1, 11.2 that a test needs to see what was stored).
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, Callable

from ..frame import parse_time
from .messages import Reply, Request
from .ring import Entry, Unit
from .state import RefusedError, utc_text
from .tickets import mint

if TYPE_CHECKING:
    from .server import Kernel

_MAX_WAIT_MS = 30_000
_NO_FRAME = "no sampled frame yet (is an AI task enabled for this camera?)"


def answer(kernel: Kernel, request: Request) -> Reply:
    """The reply to any request."""
    try:
        if not request.path.startswith("/api/v1/"):
            raise RefusedError(404, "not found")
        credential = kernel.credential(request.headers)
        known = False
        for method, pattern, handle in _ROUTES:
            match = pattern.fullmatch(request.path)
            if match is not None:
                known = True
                if method == request.method:
                    return handle(kernel, request, credential, *match.groups())
        if known:
            raise RefusedError(405, "method not allowed", "method_not_allowed")
        raise RefusedError(404, "not found")
    except RefusedError as error:
        return Reply(error.status, error.body, _reason(error))


def _reason(error: RefusedError) -> dict[str, str]:
    return {"x-frame-reason": error.body["reason"]} if "reason" in error.body else {}


def _ok(body: Any, status: int = 200) -> Reply:
    return Reply(status, body)


def _list_tasks(kernel: Kernel, _request: Request, _credential: str, camera_id: str) -> Reply:
    return _ok([t.view() for t in kernel.state.of_camera(camera_id)])


def _create_task(kernel: Kernel, request: Request, _credential: str, camera_id: str) -> Reply:
    status, task = kernel.state.create(camera_id, request.json())
    kernel.plan()
    return _ok(task.view(), status)


def _update_task(kernel: Kernel, request: Request, _credential: str, task_id: str) -> Reply:
    return _ok(kernel.change_task(task_id, **request.json()).view())


def _delete_task(kernel: Kernel, _request: Request, _credential: str, task_id: str) -> Reply:
    kernel.remove_task(task_id)
    return _ok(b"", 204)


def _discover(kernel: Kernel, request: Request, credential: str) -> Reply:
    worker_id = request.query.get("worker_id", "").strip() or None
    return _ok([t.for_worker() for t in kernel.state.discover(credential, worker_id, time.time())])


def _lease(kernel: Kernel, request: Request, credential: str) -> Reply:
    if not kernel.leases:
        raise RefusedError(404, "not found")
    return _ok(kernel.state.lease(credential, request.json(), time.time()))


def _list_leases(kernel: Kernel, _request: Request, _credential: str) -> Reply:
    with kernel.state.lock:
        return _ok(
            [
                {
                    "lease_id": h.lease_id,
                    "task_id": task_id,
                    "worker_id": h.worker_id,
                    "credential": h.credential,
                    "expires_at": utc_text(h.expires, "+00:00"),
                }
                for task_id, h in kernel.state.held.items()
                if h.expires > time.time()
            ]
        )


def _release(kernel: Kernel, _request: Request, credential: str, lease_id: str) -> Reply:
    return _ok({"released": kernel.state.release(credential, lease_id)})


def _samplers(kernel: Kernel, _request: Request, _credential: str) -> Reply:
    out = []
    for camera_id in sorted(kernel.sources):
        for profile in ("main", "sub"):
            unit = kernel.unit(camera_id, profile)
            if unit is not None:
                newest = unit.newest()
                state = "connecting" if newest is None else "sampling"
                row = {"camera_id": camera_id, "stream_profile": profile, "state": state, "fps": unit.rate()}
                out.append({**row, "width": unit.widest(), "seq": newest.seq if newest else None})
    return _ok(out)


def _frame(kernel: Kernel, request: Request, credential: str, camera_id: str) -> Reply:
    query = request.query
    if ".." in camera_id or "\\" in camera_id or "%2f" in camera_id.lower():
        raise RefusedError(400, "camera id is malformed")
    profile = query.get("profile", "sub")
    if profile not in ("sub", "main"):
        raise RefusedError(400, "profile: sub or main is expected", field="profile")
    after, seq, width = (_whole(query, name) for name in ("after", "seq", "width"))
    wait = min(max(_whole(query, "wait_ms") or 0, 0), _MAX_WAIT_MS) / 1000.0
    unit = kernel.unit(camera_id, profile)
    if unit is None:
        raise RefusedError(404, _NO_FRAME, reason="no_task")
    with kernel.state.lock:
        task = kernel.state.tasks.get(query.get("task", ""))
        mine = task is not None and (task.camera_id, task.stream_profile) == (camera_id, profile)
        task_id = task.id if task is not None and mine else None
        wanted_width = task.width if task is not None and mine else unit.widest()
    if width is not None:
        wanted_width = min(max(width, 16), 3840)
    skipped = 0
    if seq is not None:
        entry = unit.exactly(seq)
        if entry is None:
            raise RefusedError(404, "frame is no longer held", reason="evicted")
    else:
        # A new unit has a second for its first picture.
        first = 1.0 if unit.newest() is None else 0.0
        entry, skipped = unit.find(task_id, after, query.get("pick") == "next", max(wait, first))
    if entry is None:
        return _nothing(unit, task_id, after)
    stale_ms = max(5000.0, 5000.0 / max(unit.rate(), 0.02))
    if time.time() * 1000 - entry.captured_ms > stale_ms:
        when = utc_text(entry.captured_ms / 1000.0)
        raise RefusedError(404, f"no fresh frame: source stopped at {when}", reason="stale")
    return _picture(kernel, request, credential, camera_id, entry, task_id, wanted_width, skipped)


def _nothing(unit: Unit, task_id: str | None, after: int | None) -> Reply:
    newest = unit.newest_of(task_id)
    if after is None or newest is None:
        raise RefusedError(404, _NO_FRAME, reason="starting")
    return Reply(204, headers={"x-frame-seq": str(newest.seq)})


def _picture(
    kernel: Kernel,
    request: Request,
    credential: str,
    camera_id: str,
    entry: Entry,
    task_id: str | None,
    wanted_width: int,
    skipped: int,
) -> Reply:
    data, width, height = entry.rendition(wanted_width)
    now = time.time()
    headers = {
        "Content-Type": "image/jpeg",
        "Cache-Control": "no-store",
        "x-frame-captured-at": utc_text(entry.captured_ms / 1000.0, "+00:00"),
        "x-frame-age-ms": str(max(int(now * 1000) - entry.captured_ms, 0)),
        "x-frame-seq": str(entry.seq),
        "x-frame-width": str(width),
        "x-frame-height": str(height),
        "x-frame-skipped": str(skipped),
        "ETag": f'"{entry.seq}-{width}"',
    }
    if headers["ETag"] in [t.strip() for t in request.headers.get("if-none-match", "").split(",")]:
        return Reply(304, headers=headers)
    if task_id is not None and kernel.state.holding(task_id, credential, now) is not None:
        expiry = int(now + kernel.ticket_ttl)
        ticket = mint(kernel.secret, credential, camera_id, task_id, entry.captured_ms, expiry)
        if ticket is not None:
            headers["x-frame-ticket"] = ticket
    return Reply(200, data, headers)


def _ingest(kernel: Kernel, request: Request, credential: str) -> Reply:
    return _ok(kernel.ingest.take(request.json(), credential, time.time()))


def _detections(kernel: Kernel, request: Request, _credential: str, camera_id: str) -> Reply:
    return _ok(_filtered(kernel, request, kernel.ingest.detections, 5000, camera_id=camera_id))


def _events(kernel: Kernel, request: Request, _credential: str) -> Reply:
    return _ok(_filtered(kernel, request, kernel.ingest.events, 2000))


def _filtered(kernel: Kernel, request: Request, rows: Any, most: int, **fixed: str) -> list[dict[str, Any]]:
    query = {**request.query, **fixed}
    limit = _whole(query, "limit")
    names = ("camera_id", "label", "track_id", "task_type", "task_id", "event_type", "severity")
    exact = {n: query[n] for n in names if n in query}
    bounds = []
    for name, sign in (("from", 1), ("to", -1)):
        if name in query:
            try:
                bounds.append((parse_time(query[name]), sign))
            except (ValueError, IndexError):
                raise RefusedError(400, f"{name}: RFC 3339 is expected", field=name) from None
    out = []
    with kernel.ingest.lock:
        for row in reversed(rows):
            if any(row.get(n) != v for n, v in exact.items()):
                continue
            frame = query.get("frame_id")
            if frame is not None and row.get("frame_id") not in (frame, f"w:{frame}"):
                continue
            if any((parse_time(row["timestamp"]) - b).total_seconds() * sign < 0 for b, sign in bounds):
                continue
            out.append(row)
    out.sort(key=lambda r: r["timestamp"], reverse=query.get("order") != "asc")
    return out[: min(max(200 if limit is None else limit, 1), most)]


def _whole(query: dict[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise RefusedError(400, f"{name}: a whole number is expected", "bad_query", field=name)
    return int(text)


_ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Reply]]] = [
    (method, re.compile("/api/v1" + path.replace("{}", "([^/]+)")), handle)
    for method, path, handle in (
        ("GET", "/cameras/{}/ai-tasks", _list_tasks),
        ("POST", "/cameras/{}/ai-tasks", _create_task),
        ("PATCH", "/ai-tasks/{}", _update_task),
        ("DELETE", "/ai-tasks/{}", _delete_task),
        ("GET", "/ai/tasks", _discover),
        ("POST", "/ai/leases", _lease),
        ("GET", "/ai/leases", _list_leases),
        ("DELETE", "/ai/leases/{}", _release),
        ("GET", "/ai/samplers", _samplers),
        ("GET", "/cameras/{}/frame", _frame),
        ("POST", "/ai/events", _ingest),
        ("GET", "/cameras/{}/detections", _detections),
        ("GET", "/events", _events),
    )
]
