"""How the checks of a server talk to it.

Owns: one key's requests, their answers in a form that checks can read, and the tasks that are made and must
go again. Never: leaves a task behind.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from ..http import Client, Response, TransportError
from .report import SkippedError

_TIMEOUT = 15.0


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    response: Response

    @property
    def status(self) -> int:
        """Status code."""
        return self.response.status

    @property
    def json(self) -> Any:
        """The body, or None when it is no JSON."""
        try:
            return self.response.json()
        except ValueError:
            return None

    def header(self, name: str) -> str:
        """A header, empty when absent."""
        return self.response.headers.get(name, "")

    def must(self, *statuses: int) -> Answer:
        """This answer, which has one of these statuses, or `AssertionError`."""
        wanted = " or ".join(map(str, statuses))
        assert self.status in statuses, f"status {self.status}, {wanted} expected: {self.response.body[:160]!r}"
        return self


class Session:
    """Requests under one key."""

    def __init__(self, url: str, camera_id: str, key: str | None) -> None:
        self._client = Client(url, key, _TIMEOUT)
        self.camera_id = camera_id
        self.camera = f"/api/v1/cameras/{quote(camera_id, safe='')}"
        #: Unique, so that nothing of ours meets a real task.
        self.run = f"conformance_{secrets.token_hex(4)}"
        self._tasks: list[str] = []
        self._leases: list[str] = []

    def send(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, wait: float = 0.0, **query: Any
    ) -> Answer:
        """One request. Raises `AssertionError` when there is no answer."""
        text = path + ("?" + urlencode(query) if query else "")
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        try:
            return Answer(self._client.request(method, text, data, extra_time=wait))
        except TransportError as error:
            raise AssertionError(f"{method} {path}: {error}") from error

    def conditional(self, path: str, etag: str, **query: Any) -> Answer:
        """A GET with `If-None-Match`."""
        try:
            return Answer(self._client.request("GET", path + "?" + urlencode(query), headers={"If-None-Match": etag}))
        except TransportError as error:
            raise AssertionError(f"GET {path}: {error}") from error

    def typed(self, path: str, raw: bytes, content_type: str) -> Answer:
        """A POST with another content type."""
        try:
            return Answer(self._client.request("POST", path, raw, headers={"Content-Type": content_type}))
        except TransportError as error:
            raise AssertionError(f"POST {path}: {error}") from error

    def create(self, name: str, **fields: Any) -> dict[str, Any]:
        """A task of a type of its own, gone at the end. Raises `SkippedError` where this key may not."""
        answer = self.try_create({"task_type": f"{self.run}_{name}", "fps": 5, "width": 320, **fields})
        if answer.status in (401, 403):
            raise SkippedError(f"this key may not create tasks ({answer.status})")
        task: dict[str, Any] = answer.must(201).json
        return task

    def try_create(self, body: dict[str, Any]) -> Answer:
        """The answer to the creation of a task; one that comes to be is gone at the end."""
        answer = self.send("POST", f"{self.camera}/ai-tasks", body)
        if answer.status == 201:
            self._tasks.append(answer.json["id"])
        return answer

    def drop(self, task_id: str) -> None:
        """Delete a task."""
        self.send("DELETE", f"/api/v1/ai-tasks/{task_id}")
        if task_id in self._tasks:
            self._tasks.remove(task_id)

    def lease(self, worker: str, types: list[str], **fields: Any) -> dict[str, Any]:
        """Acquire or renew as `worker`."""
        body = {"worker_id": f"{self.run}_{worker}", "task_types": types, "ttl_secs": 60, **fields}
        answer = self.send("POST", "/api/v1/ai/leases", body).must(200)
        value: dict[str, Any] = answer.json
        if value["lease_id"] not in self._leases:
            self._leases.append(value["lease_id"])
        return value

    def release(self, lease_id: str) -> Answer:
        """Give a lease back."""
        return self.send("DELETE", f"/api/v1/ai/leases/{quote(lease_id, safe='')}")

    def frame(self, wait_ms: int = 0, **query: Any) -> Answer:
        """Pull a frame of profile `sub`."""
        if wait_ms:
            query["wait_ms"] = wait_ms
        return self.send("GET", f"{self.camera}/frame", wait=wait_ms / 1000, **{"profile": "sub", **query})

    def first_frame(self, task_id: str, seconds: float = 15.0) -> Answer:
        """The first frame of a task. Raises `SkippedError` when the camera gives none."""
        until = time.monotonic() + seconds
        while True:
            answer = self.frame(2000, task=task_id)
            if answer.status == 200:
                return answer
            if time.monotonic() > until:
                raise SkippedError(f"the camera gives no frames: {answer.status} {answer.response.body[:120]!r}")
            if answer.status == 404:
                time.sleep(0.2)

    def post(self, **fields: Any) -> Answer:
        """Post results; camera and type are filled in."""
        body = {"camera_id": self.camera_id, "task_type": f"{self.run}_free", "detections": [], **fields}
        return self.send("POST", "/api/v1/ai/events", {k: v for k, v in body.items() if v is not ...})

    def stored(self, frame_id: str) -> list[dict[str, Any]]:
        """Detections that carry this frame id. Raises `SkippedError` where this key may not look."""
        answer = self.send("GET", f"{self.camera}/detections", frame_id=frame_id, limit=5000)
        if answer.status in (401, 403):
            raise SkippedError(f"this key may not read detections ({answer.status})")
        rows: list[dict[str, Any]] = answer.must(200).json
        return [r for r in rows if str(r.get("frame_id", "")).endswith(frame_id)]

    def close(self) -> None:
        """Take away all that was made."""
        for lease_id in self._leases:
            self.release(lease_id)
        for task_id in list(self._tasks):
            self.drop(task_id)
        self._client.close()
