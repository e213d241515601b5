"""The routes of a worker, as functions from a client to an answer that can be branched on.

Owns: paths, bodies and the reading of replies (contract, worker's life, leases, frames, ingest). Never:
decides when to call or what to do about an answer, and never waits.
"""

from __future__ import annotations

import enum
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .detection import Result
from .frame import Frame, WorkerTask, parse_time
from .http import Client, Response

LEASES = "/api/v1/ai/leases"
TASKS = "/api/v1/ai/tasks"
EVENTS = "/api/v1/ai/events"


@dataclass(frozen=True)
class Lease:
    """What we hold: raw task objects, checked later one by one."""

    id: str | None
    tasks: list[object]
    renew_after: float | None = None


class NoLeases(enum.Enum):
    """This server has no leases."""

    HERE = "no leases"


def lease(
    client: Client,
    worker_id: str,
    ttl_secs: int,
    task_types: Sequence[str] | None,
    max_tasks: int | None,
    capacity: float | None,
) -> Lease | NoLeases | Response:
    """Acquire, renew and heartbeat in one. Raises `TransportError`."""
    body: dict[str, Any] = {"worker_id": worker_id, "ttl_secs": ttl_secs}
    if task_types is not None:
        body["task_types"] = list(task_types)
    if max_tasks is not None:
        body["max_tasks"] = max_tasks
    if capacity is not None:
        body["capacity"] = capacity
    answer = client.request("POST", LEASES, json.dumps(body).encode())
    if answer.status == 404:
        return NoLeases.HERE
    value = _json_or_none(answer)
    if answer.status != 200 or not isinstance(value, dict) or not isinstance(value.get("tasks"), list):
        return answer
    lease_id = value.get("lease_id")
    renew = value.get("renew_after_secs")
    return Lease(
        lease_id if isinstance(lease_id, str) else None,
        value["tasks"],
        float(renew) if isinstance(renew, (int, float)) and renew > 0 else None,
    )


def discover(client: Client, worker_id: str) -> Lease | Response:
    """The tasks of this worker on a server without leases. Raises `TransportError`."""
    answer = client.request("GET", f"{TASKS}?{urlencode({'worker_id': worker_id})}")
    value = _json_or_none(answer)
    if answer.status != 200 or not isinstance(value, list):
        return answer
    return Lease(None, value)


def release(client: Client, lease_id: str) -> None:
    """Give the lease back. Raises `TransportError`."""
    client.request("DELETE", f"{LEASES}/{quote(lease_id, safe='')}")


class Empty(enum.Enum):
    """Why there is no picture now."""

    NOTHING_NEWER = "204"
    UNCHANGED = "304"
    NO_FRAME = "404"
    UNREADABLE = "200 without picture or time"


def pull(
    client: Client,
    task: WorkerTask,
    after: int | None,
    wait_ms: int,
    cancel: threading.Event | None = None,
) -> Frame | Empty | Response:
    """The newest frame of the task, newer than `after`; the server may wait `wait_ms`. Raises `TransportError`."""
    query: dict[str, object] = {}
    if not any(part.startswith("task=") for part in urlsplit(task.frame_url).query.split("&")):
        query["task"] = task.id
    if after is not None:
        query["after"] = after
    if wait_ms > 0:
        query["wait_ms"] = wait_ms
    joint = "" if not query else "&" if "?" in task.frame_url else "?"
    answer = client.request(
        "GET", task.frame_url + joint + urlencode(query), extra_time=wait_ms / 1000.0, cancel=cancel
    )
    if answer.status == 200:
        return _frame(task, answer)
    empty = {204: Empty.NOTHING_NEWER, 304: Empty.UNCHANGED, 404: Empty.NO_FRAME}.get(answer.status)
    return answer if empty is None else empty


def _frame(task: WorkerTask, answer: Response) -> Frame | Empty:
    headers = answer.headers
    text = headers.get("x-frame-captured-at", "").strip()
    if not answer.body or not text:
        return Empty.UNREADABLE
    try:
        captured_at = parse_time(text)
    except ValueError:
        return Empty.UNREADABLE
    return Frame(
        task,
        answer.body,
        text,
        captured_at,
        age_ms=_digits(headers.get("x-frame-age-ms")),
        seq=_digits(headers.get("x-frame-seq")),
        ticket=headers.get("x-frame-ticket", "").strip() or None,
        skipped=_digits(headers.get("x-frame-skipped")) or 0,
        width=_digits(headers.get("x-frame-width")),
        height=_digits(headers.get("x-frame-height")),
    )


def result_body(frame: Frame, result: Result) -> bytes:
    """The body of one post. The same frame always makes the same key, so sending it twice is harmless."""
    body: dict[str, Any] = {
        "camera_id": frame.camera_id,
        "task_type": frame.task.task_type,
        "timestamp": frame.captured_at_text,
        "frame_id": f"{frame.task.id}:{frame.captured_at_text}",
        "detections": [d.to_json() for d in result.detections],
    }
    if frame.ticket is not None:
        body["frame_ticket"] = frame.ticket
    if result.event is not None:
        body["event"] = result.event.to_json()
    return json.dumps(body, separators=(",", ":"), allow_nan=False, default=_plain).encode()


class Posted(enum.Enum):
    """What became of a post."""

    STORED = "stored"
    #: The lease or the frame's ticket no longer holds (row 8): drop the batch, forget the frame, ask for tasks.
    LEASE_LOST = "lease lost"
    #: Worth the same body again (row 9).
    AGAIN = "again"
    #: Refused for good.
    REFUSED = "refused"


def judge_post(answer: Response) -> Posted:
    """Rows 8 and 9 of the worker's life."""
    if 200 <= answer.status < 300:
        return Posted.STORED
    if answer.status >= 500:
        return Posted.AGAIN
    if answer.status == 409:
        return Posted.LEASE_LOST
    text = answer.body.decode("utf-8", "replace")
    if answer.status == 401 and ("frame_ticket" in text or "lease" in text):
        return Posted.LEASE_LOST
    return Posted.REFUSED


def _digits(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _json_or_none(answer: Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    # Numbers and arrays of numpy and torch, as they come out of a model.
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    raise TypeError(f"{type(value).__name__} in attributes or payload has no JSON form")
