"""What the testing kernel knows: tasks, workers, leases.

Owns: the rules of the contract's sections 3 and 4, with the lock that guards them. Invariant: a task has one
holder until its lease expires. Times are seconds of the wall clock and inputs of every call.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .share import Job, Peer, share, weight

# A held task that is meant for another worker ends this soon, so that results in flight still count.
_HANDOVER = 5.0


class RefusedError(Exception):
    """An answer that is an error, as the contract words it."""

    def __init__(self, status: int, text: str, code: str | None = None, **more: Any) -> None:
        super().__init__(text)
        codes = {400: "validation", 401: "unauthenticated", 403: "forbidden", 404: "not_found", 409: "conflict"}
        self.status = status
        self.body: dict[str, Any] = {"error": text, "code": code or codes.get(status, "validation"), **more}


@dataclass
class Task:
    """A task as stored."""

    id: str
    camera_id: str
    task_type: str
    enabled: bool
    stream_profile: str
    fps: float
    width: int
    config: Any
    created_at: str
    updated_at: str

    def view(self) -> dict[str, Any]:
        """The form of the management routes."""
        return {**self.__dict__, "mode": "live", "warm": False}

    def for_worker(self) -> dict[str, Any]:
        """The form that workers get."""
        return {
            "id": self.id,
            "camera_id": self.camera_id,
            "task_type": self.task_type,
            "stream_profile": self.stream_profile,
            "fps": self.fps,
            "width": self.width,
            "config": self.config,
            "frame_url": f"/api/v1/cameras/{self.camera_id}/frame?profile={self.stream_profile}&task={self.id}",
            "mode": "live",
        }


@dataclass
class Holding:
    """One task held by one worker."""

    credential: str
    worker_id: str
    lease_id: str
    expires: float


@dataclass
class Live:
    """A worker that was heard of."""

    peer: Peer
    until: float
    transport: str
    lease_id: str | None = None
    lease_until: float = 0.0


@dataclass
class State:
    """Tasks of the cameras, and who works on them. `lock` guards everything; methods take it themselves."""

    cameras: list[str]
    lock: threading.RLock = field(default_factory=threading.RLock)
    tasks: dict[str, Task] = field(default_factory=dict)
    held: dict[str, Holding] = field(default_factory=dict)
    live: dict[tuple[str, str], Live] = field(default_factory=dict)

    # Tasks

    def create(self, camera_id: str, body: dict[str, Any]) -> tuple[int, Task]:
        """201 and the new task, or 200 and the one that has the slot. Raises `RefusedError`."""
        with self.lock:
            self._known(camera_id)
            task_type = _required_text(body, "task_type")
            profile = _profile(body.get("stream_profile"), "sub")
            if body.get("mode") not in (None, "live"):
                raise RefusedError(400, "mode: live is expected", field="mode")
            now = utc_text()
            task = Task(
                f"ai_{uuid.uuid4().hex}",
                camera_id,
                task_type,
                _flag(body.get("enabled"), True),
                profile,
                _number(body, "fps", 5.0, 0.02, 30.0),
                int(_number(body, "width", 1280, 160, 3840)),
                {} if body.get("config") is None else body["config"],
                now,
                now,
            )
            taken = self._slot(camera_id, task_type, profile)
            if taken is not None:
                return 200, taken
            self.tasks[task.id] = task
            return 201, task

    def update(self, task_id: str, body: dict[str, Any]) -> Task:
        """The changed task. Raises `RefusedError`."""
        with self.lock:
            task = self.tasks.get(task_id)
            if task is None:
                raise RefusedError(404, "AI task not found")
            given = {k: v for k, v in body.items() if v is not None}
            task_type = _required_text(given, "task_type") if "task_type" in given else task.task_type
            profile = _profile(given.get("stream_profile"), task.stream_profile)
            taken = self._slot(task.camera_id, task_type, profile)
            if taken is not None and taken.id != task_id:
                raise RefusedError(409, "resource already exists")
            fps = _number(given, "fps", task.fps, 0.02, 30.0)
            width = int(_number(given, "width", task.width, 160, 3840))
            enabled = _flag(given.get("enabled"), task.enabled)
            task.task_type, task.stream_profile, task.fps, task.width = task_type, profile, fps, width
            task.enabled, task.config, task.updated_at = enabled, given.get("config", task.config), utc_text()
            return task

    def delete(self, task_id: str) -> None:
        """Remove the task and its lease. Raises `RefusedError`."""
        with self.lock:
            if self.tasks.pop(task_id, None) is None:
                raise RefusedError(404, "AI task not found")
            self.held.pop(task_id, None)

    def of_camera(self, camera_id: str) -> list[Task]:
        """Tasks of a camera, oldest first. Raises `RefusedError`."""
        with self.lock:
            self._known(camera_id)
            return [t for t in self.tasks.values() if t.camera_id == camera_id]

    def _known(self, camera_id: str) -> None:
        if camera_id not in self.cameras:
            raise RefusedError(404, "camera not found")

    def _slot(self, camera_id: str, task_type: str, profile: str) -> Task | None:
        slot = (camera_id, task_type, profile)
        return next((t for t in self.tasks.values() if (t.camera_id, t.task_type, t.stream_profile) == slot), None)

    # Workers

    def discover(self, credential: str, worker_id: str | None, now: float) -> list[Task]:
        """Enabled tasks; with a worker's name its share of them."""
        with self.lock:
            enabled = self._enabled()
            if worker_id is None:
                return enabled
            self._hear(Peer(credential, worker_id), "discovery", now, 60.0)
            peers = self._peers(now, "discovery", credential)
            shared = share(_jobs(enabled), peers)
            leased = {t for t, h in self.held.items() if h.expires > now and h.worker_id != worker_id}
            return [t for t in enabled if t.id in shared and shared[t.id].worker_id == worker_id and t.id not in leased]

    def lease(self, credential: str, body: dict[str, Any], now: float) -> dict[str, Any]:
        """Acquire or renew. Raises `RefusedError`."""
        worker_id = _required_text(body, "worker_id")
        if len(worker_id) > 256:
            raise RefusedError(400, "worker_id: longer than 256 characters")
        types = body.get("task_types")
        if types is not None and not (isinstance(types, list) and all(isinstance(t, str) for t in types)):
            raise RefusedError(422, "task_types: a list of strings is expected", "invalid_body")
        ttl = int(_number(body, "ttl_secs", 60, 15, 300))
        peer = Peer(
            credential,
            worker_id,
            None if types is None else frozenset(types),
            _number(body, "capacity", 1.0, 0.01, 100.0),
            int(_number(body, "max_tasks", 512, 1, 512)),
        )
        with self.lock:
            worker = self._hear(peer, "lease", now, max(60.0, ttl))
            mine = [t for t, h in self.held.items() if self._is(h, peer) and h.expires > now]
            if worker.lease_id is None or now >= worker.lease_until:
                worker.lease_id = f"lse_{uuid.uuid4().hex}"
            enabled = {t.id: t for t in self._enabled()}
            shared = share(_jobs(list(enabled.values())), self._peers(now, "lease", None))
            meant = {t for t, p in shared.items() if (p.credential, p.worker_id) == (credential, worker_id)}
            for task_id in mine:
                task = enabled.get(task_id)
                if task is None or not peer.covers(_job(task)):
                    del self.held[task_id]
                elif task_id not in meant:
                    self.held[task_id].expires = min(self.held[task_id].expires, now + _HANDOVER)
            got, pending = [], []
            for task_id in sorted(meant):
                holding = self.held.get(task_id)
                if holding is not None and holding.expires > now and not self._is(holding, peer):
                    pending.append(task_id)
                    continue
                self.held[task_id] = Holding(credential, worker_id, worker.lease_id, now + ttl)
                got.append(enabled[task_id].for_worker())
            renewed, worker.lease_until = worker.lease_until > now, now + ttl
            return {
                "lease_id": worker.lease_id,
                "worker_id": worker_id,
                "expires_at": utc_text(now + ttl, "+00:00"),
                "tasks": got,
                "renewed": renewed,
                "pending": pending,
                "renew_after_secs": ttl / 3,
            }

    def release(self, credential: str, lease_id: str) -> int:
        """Give back; the number of tasks that were held."""
        with self.lock:
            gone = [t for t, h in self.held.items() if h.lease_id == lease_id and h.credential == credential]
            for task_id in gone:
                del self.held[task_id]
            for key in [k for k, w in self.live.items() if k[0] == credential and w.lease_id == lease_id]:
                del self.live[key]
            return len(gone)

    def holding(self, task_id: str, credential: str, now: float) -> Holding | None:
        """The live lease of this credential on the task."""
        with self.lock:
            holding = self.held.get(task_id)
            return holding if holding and holding.credential == credential and holding.expires > now else None

    def expire(self) -> None:
        """End every lease at once, as a long silence would."""
        with self.lock:
            self.held.clear()
            self.live.clear()

    def _enabled(self) -> list[Task]:
        return sorted((t for t in self.tasks.values() if t.enabled and t.camera_id in self.cameras), key=lambda t: t.id)

    def _hear(self, peer: Peer, transport: str, now: float, seconds: float) -> Live:
        self.live = {k: w for k, w in self.live.items() if w.until > now}
        key = (peer.credential, peer.worker_id)
        worker = self.live.setdefault(key, Live(peer, 0.0, transport))
        worker.peer, worker.until, worker.transport = peer, now + seconds, transport
        return worker

    def _peers(self, now: float, transport: str, credential: str | None) -> list[Peer]:
        return [
            w.peer
            for w in self.live.values()
            if w.until > now and w.transport == transport and credential in (None, w.peer.credential)
        ]

    @staticmethod
    def _is(holding: Holding, peer: Peer) -> bool:
        return (holding.credential, holding.worker_id) == (peer.credential, peer.worker_id)


def _job(task: Task) -> Job:
    return Job(task.id, task.task_type, weight(task.fps, task.width))


def _jobs(tasks: list[Task]) -> list[Job]:
    return [_job(t) for t in tasks]


def utc_text(at: float | None = None, zone: str = "Z") -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.now(timezone.utc) if at is None else datetime.fromtimestamp(at, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}{zone}"


def _required_text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise RefusedError(422, f"{name}: a string is required", "invalid_body", field=name)
    if not value.strip():
        raise RefusedError(400, f"{name}: must not be blank", field=name)
    return value.strip()


def _profile(value: object, default: str) -> str:
    if value is None:
        return default
    if not isinstance(value, str):
        raise RefusedError(422, "stream_profile: a string is expected", "invalid_body", field="stream_profile")
    if value not in ("sub", "main"):
        raise RefusedError(400, "stream_profile: sub or main is expected", field="stream_profile")
    return value


def _flag(value: object, default: bool) -> bool:
    if value is None:
        return default
    if not isinstance(value, bool):
        raise RefusedError(422, "enabled: true or false is expected", "invalid_body", field="enabled")
    return value


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise RefusedError(422, f"{name}: a number is expected", "invalid_body", field=name)
    return min(max(float(value), low), high)
