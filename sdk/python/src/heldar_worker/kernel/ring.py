"""The last pictures of one camera stream, numbered, with the moment of their capture.

Owns: units (contract 5.2, 6.1): one per camera and profile, a thread that reads the source at the rate of its
fastest task, and the waiting of pulls. Invariants: numbers rise by one, capture times by at least a
millisecond; bytes, number, time and size of an answer belong to one picture.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from .sources import Source, resized

_RING = 32


@dataclass
class Entry:
    """One picture of the ring."""

    seq: int
    captured_ms: int
    jpeg: bytes
    #: Tasks this picture was picked for.
    tasks: frozenset[str]
    renditions: OrderedDict[int | None, tuple[bytes, int, int]] = field(default_factory=OrderedDict)

    def rendition(self, width: int | None) -> tuple[bytes, int, int]:
        """Bytes, width and height at most `width` wide; coded once per width."""
        if width not in self.renditions:
            self.renditions[width] = resized(self.jpeg, width)
        return self.renditions[width]


@dataclass(frozen=True)
class Demand:
    """What one task asks of the unit."""

    fps: float
    width: int


class Unit:
    """Reads one source and keeps its last pictures."""

    def __init__(self, open_pictures: Callable[[], Source], *, loop: bool = True, ring: int = _RING) -> None:
        self._open = open_pictures
        self._loop = loop
        self._source = open_pictures()
        self._entries: deque[Entry] = deque(maxlen=ring)
        self._demands: dict[str, Demand] = {}
        self._slots: dict[str, int] = {}
        self._seq = int(time.time() * 1000)
        self._changed = threading.Condition()
        self._stopped = False
        #: Set for good when the source ended and does not start again.
        self.ended = threading.Event()
        self._paused = False
        self._read = 0
        self._position = 0.0
        self._thread = threading.Thread(target=self._run, name="unit", daemon=True)
        self._thread.start()

    def demand(self, demands: Mapping[str, Demand]) -> None:
        """The tasks that are to be served from now on; a task that stays as it was is not disturbed."""
        with self._changed:
            if self._demands == demands:
                return
            self._slots = {t: s for t, s in self._slots.items() if demands.get(t) == self._demands.get(t)}
            self._demands = dict(demands)
            self._changed.notify_all()

    def pause(self, paused: bool) -> None:
        """Stop or resume taking pictures, as a camera that goes away does."""
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def rate(self) -> float:
        """Pictures a second: the fastest task's."""
        return max((d.fps for d in self._demands.values()), default=0.0)

    def newest(self) -> Entry | None:
        """The last picture."""
        with self._changed:
            return self._entries[-1] if self._entries else None

    def widest(self) -> int:
        """The largest width any task asks for."""
        return max((d.width for d in self._demands.values()), default=1280)

    def exactly(self, seq: int) -> Entry | None:
        """The picture of that number, if it is still held."""
        with self._changed:
            return next((e for e in self._entries if e.seq == seq), None)

    def find(self, task: str | None, after: int | None, oldest: bool, wait: float) -> tuple[Entry | None, int]:
        """A picture of the view newer than `after`, waiting up to `wait` seconds, and how many were passed over."""
        with self._changed:
            if after is not None and self._entries and after > self._entries[-1].seq:
                after = None
            view: list[Entry] = []

            def there() -> bool:
                view[:] = [
                    e for e in self._entries if (task is None or task in e.tasks) and (after is None or e.seq > after)
                ]
                return bool(view) or self._stopped

            self._changed.wait_for(there, wait)
            if not view:
                return None, 0
            return (
                (view[0], 0) if oldest and after is not None else (view[-1], len(view) - 1 if after is not None else 0)
            )

    def newest_of(self, task: str | None) -> Entry | None:
        """The last picture of the view."""
        with self._changed:
            return next((e for e in reversed(self._entries) if task is None or task in e.tasks), None)

    def close(self) -> None:
        """Stop reading and let all waiting pulls go."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(timeout=5)
        self._source.close()

    def _run(self) -> None:
        origin = time.monotonic()
        slot = 0
        planned: Mapping[str, Demand] = {}
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or (bool(self._demands) and not self._paused))
                if self._stopped:
                    return
                # Never more than there is: a picture is taken once.
                rate = min(self.rate(), self._source.fps)
                slot = max(slot + 1, math.floor((time.monotonic() - origin) * rate) + 1) if rate > 0 else slot
                due = origin + slot / rate
                planned = self._demands
                # A changed demand wakes this up; the due time is then worked out anew.
                undisturbed = self._until(due, planned)
                if self._stopped:
                    return
                if not undisturbed:
                    slot = 0
                    continue
            jpeg = self._next_picture(rate)
            if jpeg is None:
                self.ended.set()
                return
            with self._changed:
                self._append(jpeg, due - origin)

    def _until(self, due: float, planned: Mapping[str, Demand]) -> bool:
        """Wait for the due time; False when something changed meanwhile."""

        def disturbed() -> bool:
            return self._stopped or self._paused or self._demands is not planned

        return not self._changed.wait_for(disturbed, max(due - time.monotonic(), 0.0))

    def _next_picture(self, rate: float) -> bytes | None:
        """The picture a camera would have delivered by now; those between are passed over."""
        self._position += self._source.fps / rate
        jpeg: bytes | None = None
        while self._read < self._position or jpeg is None:
            jpeg = self._source.read()
            if jpeg is None:
                if not self._loop:
                    return None
                self._source.close()
                self._source = self._open()
                jpeg = self._source.read()
                if jpeg is None:
                    return None
            self._read += 1
        return jpeg

    def _append(self, jpeg: bytes, at: float) -> None:
        picked = set()
        for task, demand in self._demands.items():
            # The first picture at or after each due time of the task's own grid.
            slot = math.floor(at * demand.fps + 1e-6)
            if slot > self._slots.get(task, -1):
                self._slots[task] = slot
                picked.add(task)
        last = self._entries[-1].captured_ms if self._entries else 0
        self._seq += 1
        captured = max(int(time.time() * 1000), last + 1)
        self._entries.append(Entry(self._seq, captured, jpeg, frozenset(picked)))
        self._changed.notify_all()
