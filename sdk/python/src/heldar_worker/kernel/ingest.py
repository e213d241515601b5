"""Results of workers: checked, deduplicated, kept for a look.

Owns: the checks and the order of ticket steps of the contract (8.1 to 8.5), and the last results in memory.
Invariant: a batch counts once per (camera, task, frame, part), and a refused one leaves nothing behind.
"""

from __future__ import annotations

import math
import re
import threading
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..frame import parse_time
from .state import RefusedError, State, Task, utc_text
from .tickets import Ticket

_EVENT_TYPE = re.compile(r"[a-z0-9_]{1,64}")
_RESERVED = ("gate_", "entry_", "zone_", "camera_", "disk_", "raid_")
_BUILT_IN = frozenset(
    {
        "recorder_error",
        "recording_gap",
        "sampler_offline",
        "sampler_recovered",
        "retention_delete",
        "ingest_unleased",
        "webhook_signing_secret_unusable",
        "wasm_plugin_disabled",
        "webhook_disabled",
        "consumer_parked",
        "registry_rollback",
    }
)
_KEPT = 20_000


@dataclass
class Batch:
    """One accepted post."""

    camera_id: str
    task_type: str
    task_id: str | None
    frame_id: str | None
    timestamp: str
    ticketed: bool
    detections: list[dict[str, Any]]
    event: dict[str, Any] | None
    received: float = field(default_factory=time.time)


class Ingest:
    """Takes posts and keeps the last of them."""

    def __init__(self, state: State, secret: bytes, require_tickets: bool = False) -> None:
        self._state = state
        self._secret = secret
        self._require_tickets = require_tickets
        self.lock = threading.Lock()
        self.batches: deque[Batch] = deque(maxlen=_KEPT)
        self.detections: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        # (camera, task, frame, part) -> whether an event is stored for it.
        self._keys: OrderedDict[tuple[str, str, str, int], bool] = OrderedDict()
        self._seq = 0
        #: Batches accepted since the start, duplicates not counted.
        self.accepted = 0

    def take(self, body: dict[str, Any], credential: str, now: float) -> dict[str, Any]:
        """The answer to a post. Raises `RefusedError`."""
        given_camera, given_type = _text(body, "camera_id"), _text(body, "task_type")
        ticket_text = (_optional_text(body, "frame_ticket") or "").strip()
        part = body.get("part") or 0
        if isinstance(part, bool) or not isinstance(part, int) or not 0 <= part <= 63:
            raise RefusedError(400, "part: 0..63 is expected", field="part")
        frame_id = _optional_text(body, "frame_id") or None
        if ticket_text:
            task, captured_ms = self._by_ticket(ticket_text, credential, given_camera, given_type, now)
            camera_id, task_type, timestamp = task.camera_id, task.task_type, utc_text(captured_ms / 1000.0)
            task_id: str | None = task.id
            frame_id = f"{task.id}:{captured_ms}"
        else:
            if self._require_tickets:
                raise RefusedError(401, "frame_ticket_required: pull frames with a lease and echo their ticket")
            if given_camera not in self._state.cameras:
                raise RefusedError(404, "camera not found")
            if not given_type.strip():
                raise RefusedError(400, "task_type: must not be blank", field="task_type")
            camera_id, task_type = given_camera, given_type
            timestamp = _time(_optional_text(body, "timestamp"), "timestamp") or utc_text(now)
            task_id = self._named_task(body, camera_id, task_type, frame_id)
        detections = checked_detections(body.get("detections"), timestamp, bool(ticket_text))
        event = _checked_event(body.get("event"))
        batch = Batch(camera_id, task_type, task_id, frame_id, timestamp, bool(ticket_text), detections, event)
        return self._commit(batch, part)

    def _by_ticket(self, text: str, credential: str, camera_id: str, task_type: str, now: float) -> tuple[Task, int]:
        ticket = Ticket.parse(text)
        if ticket is None:
            raise RefusedError(401, "frame_ticket is malformed")
        with self._state.lock:
            holding = self._state.holding(ticket.task_id, credential, now)
            task = self._state.tasks.get(ticket.task_id)
            if holding is None or task is None:
                raise RefusedError(401, "no live lease on the task of this frame")
            if not ticket.holds(self._secret, credential, task.camera_id, now):
                raise RefusedError(401, "frame_ticket is invalid or expired")
            if not task.enabled:
                raise RefusedError(403, "the task is disabled")
        if (camera_id and camera_id != task.camera_id) or (task_type and task_type != task.task_type):
            raise RefusedError(409, "camera_id or task_type differs from the frame's task")
        return task, ticket.captured_ms

    def _named_task(self, body: dict[str, Any], camera_id: str, task_type: str, frame_id: str | None) -> str | None:
        named = _optional_text(body, "task_id")
        with self._state.lock:
            if named:
                task = self._state.tasks.get(named)
                if task is None or (task.camera_id, task.task_type) != (camera_id, task_type):
                    raise RefusedError(409, "task_id: no such task of this camera and type")
                return named
            for task in self._state.tasks.values():
                mine = (task.camera_id, task.task_type) == (camera_id, task_type)
                if mine and (frame_id or "").startswith(task.id + ":"):
                    return task.id
        return None

    def _commit(self, batch: Batch, part: int) -> dict[str, Any]:
        with self.lock:
            key = None
            if batch.frame_id is not None:
                key = (batch.camera_id, batch.task_id or batch.task_type, batch.frame_id, part)
            if key is not None and key in self._keys:
                # The event of a duplicate is stored now if the first delivery had none.
                if batch.event is not None and not self._keys[key]:
                    self._store_event(batch)
                    self._keys[key] = True
                return {"detections_ingested": 0, "duplicate": True, "ticketed": batch.ticketed}
            if key is not None:
                self._keys[key] = batch.event is not None
                while len(self._keys) > _KEPT:
                    self._keys.popitem(last=False)
            self._seq += 1
            self.batches.append(batch)
            self.accepted += 1
            self._store(batch)
            if batch.event is not None:
                self._store_event(batch)
            return {
                "detections_ingested": len(batch.detections),
                "ticketed": batch.ticketed,
                "batch_id": f"bat_{uuid.uuid4().hex}",
                "seq": self._seq,
            }

    def _store(self, batch: Batch) -> None:
        for position, detection in enumerate(batch.detections):
            attributes = detection["attributes"]
            if not isinstance(attributes, dict):
                attributes = {"_client": attributes}
            attributes = {k: v for k, v in attributes.items() if k not in ("source", "_prov")}
            self.detections.append(
                {
                    "id": f"det_{self._seq:024x}{position:08x}",
                    "camera_id": batch.camera_id,
                    "task_type": batch.task_type,
                    **detection,
                    "timestamp": detection["timestamp"] or batch.timestamp,
                    "attributes": {**attributes, "source": "worker"},
                    "frame_id": None if batch.frame_id is None else f"w:{batch.frame_id}",
                    "task_id": batch.task_id,
                    "ticketed": batch.ticketed,
                    "created_at": utc_text(),
                }
            )

    def _store_event(self, batch: Batch) -> None:
        event = batch.event or {}
        self._seq += 1
        self.events.append(
            {
                "id": str(uuid.uuid4()),
                "seq": self._seq,
                "camera_id": batch.camera_id,
                "event_type": event["event_type"],
                "severity": event["severity"],
                "payload": event["payload"],
                "timestamp": batch.timestamp,
                "created_at": utc_text(),
            }
        )


def checked_detections(value: object, batch_time: str, ticketed: bool) -> list[dict[str, Any]]:
    """The detections with boxes clamped into 0..1. Raises `RefusedError` naming the first offender."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RefusedError(422, "detections: a list is expected", "invalid_body", field="detections")
    if len(value) > 1000:
        raise RefusedError(400, "detections: more than 1000", field="detections")
    out = []
    for index, raw in enumerate(value):
        if not isinstance(raw, dict):
            raise RefusedError(422, f"detections[{index}]: an object is expected", "invalid_body", index=index)
        out.append(_checked_detection(raw, index, batch_time, ticketed))
    return out


def _checked_detection(raw: dict[str, Any], index: int, batch_time: str, ticketed: bool) -> dict[str, Any]:
    def refuse(name: str, why: str, status: int = 400) -> RefusedError:
        code = "validation" if status == 400 else "invalid_body"
        return RefusedError(status, f"detections[{index}].{name}: {why}", code, index=index, field=name)

    for name in ("label", "track_id"):
        text = raw.get(name)
        if text is not None and not isinstance(text, str):
            raise refuse(name, "a string is expected", 422)
        if text is not None and len(text) > 256:
            raise refuse(name, "longer than 256 characters")
    confidence = raw.get("confidence")
    if confidence is not None:
        if not _is_number(confidence):
            raise refuse("confidence", "a number is expected", 422)
        if not 0 <= confidence <= 1:
            raise refuse("confidence", "not within 0..1")
    bbox = raw.get("bbox")
    if bbox is not None:
        if not isinstance(bbox, list) or not all(_is_number(v) for v in bbox):
            raise refuse("bbox", "a list of numbers is expected", 422)
        why = box_trouble(bbox)
        if why is not None:
            raise refuse("bbox", why)
        x, y, w, h = bbox
        left, top = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
        bbox = [left, top, min(max(x + w, 0.0), 1.0) - left, min(max(y + h, 0.0), 1.0) - top]
    moment = raw.get("timestamp")
    stamp = None
    if moment is not None and not ticketed:
        stamp = _time(moment if isinstance(moment, str) else "", f"detections[{index}].timestamp")
        if stamp is not None and abs((_moment(stamp) - _moment(batch_time)).total_seconds()) > 60:
            raise refuse("timestamp", "more than 60 s from the batch's")
    return {
        "label": raw.get("label"),
        "confidence": confidence,
        "bbox": bbox,
        "track_id": raw.get("track_id"),
        "attributes": {} if raw.get("attributes") is None else raw["attributes"],
        "timestamp": stamp,
    }


def box_trouble(bbox: list[float]) -> str | None:
    """Why the contract (8.3) refuses a box; None when it is fine."""
    if len(bbox) != 4 or not all(math.isfinite(v) for v in bbox):
        return "exactly four finite numbers are expected"
    x, y, w, h = bbox
    if w < 0 or h < 0:
        return "negative size"
    if not all(-0.01 <= v <= 1.01 for v in (x, y, x + w, y + h)):
        return "outside 0..1"
    return None


def _checked_event(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("event_type"), str):
        raise RefusedError(422, "event: an object with event_type is expected", "invalid_body", field="event")
    name = value["event_type"]
    if not _EVENT_TYPE.fullmatch(name) or name.startswith(_RESERVED) or name in _BUILT_IN:
        raise RefusedError(400, "event.event_type: not a name for workers", field="event_type")
    severity = value.get("severity") or "info"
    payload = value.get("payload")
    return {
        "event_type": name,
        "severity": severity if severity in ("info", "warning") else "warning",
        "payload": {} if payload is None else payload,
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise RefusedError(422, f"{name}: a string is required", "invalid_body", field=name)
    return value


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise RefusedError(422, f"{name}: a string is expected", "invalid_body", field=name)
    return value


def _time(text: str | None, name: str) -> str | None:
    if text is None:
        return None
    try:
        return utc_text(parse_time(text).timestamp())
    except ValueError:
        raise RefusedError(400, f"{name}: RFC 3339 is expected", field=name) from None


def _moment(text: str) -> datetime:
    return parse_time(text)
