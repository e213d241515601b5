"""The ready-made motion detector: task type `motion`.

Owns: the config keys of that type (contract 2.4): `threshold` (share of the picture that must change, 0.02),
`pixel_delta` (change of brightness that counts, of 255, 25), `scale_width` (width it is looked at in, 320),
`event_interval_s` (10). One detection `motion` around what changed, and an event when motion begins and then
at most once per interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from .detection import Detection, Event, Result
from .frame import Frame, Image, WorkerTask
from .settings import Settings
from .worker import Worker


class MotionHandler:
    """Compares each frame with the one before."""

    def __init__(self, task: WorkerTask) -> None:
        config = task.config
        self._threshold = _setting(config, "threshold", 0.02, 0.0001, 1.0)
        self._delta = _setting(config, "pixel_delta", 25, 1, 255)
        self._width = int(_setting(config, "scale_width", 320, 32, 1920))
        self._interval = _setting(config, "event_interval_s", 10, 0, 86_400)
        self._before: npt.NDArray[np.float32] | None = None
        self._told: datetime | None = None

    def analyze(self, frame: Frame) -> Result:
        """One detection while there is motion."""
        now = _small_grey(frame.image, self._width)
        before, self._before = self._before, now
        if before is None or before.shape != now.shape:
            return Result()
        changed = np.abs(now - before) > self._delta
        share = float(changed.mean())
        if share < self._threshold:
            return Result()
        box = _around(changed)
        detection = Detection("motion", None, box, None, {"changed": round(share, 4)})
        due = self._told is None or (frame.captured_at - self._told).total_seconds() >= self._interval
        event = None
        # One rule for both: motion that flickers begins many times a minute.
        if due:
            self._told = frame.captured_at
            event = Event("motion", "info", {"changed": round(share, 4), "bbox": list(box)})
        return Result([detection], event)


def _small_grey(image: Image, width: int) -> npt.NDArray[np.float32]:
    from PIL import Image as Pictures

    picture = Pictures.fromarray(image).convert("L")
    if picture.width > width:
        height = max(round(picture.height * width / picture.width), 1)
        # Averages of areas, so that sensor noise does not count as change.
        picture = picture.resize((width, height), Pictures.Resampling.BOX)
    return np.asarray(picture, dtype=np.float32)


def _around(changed: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The box that holds nearly all of the change, as fractions; stray pixels do not widen it."""
    out = []
    for axis, size in ((0, changed.shape[1]), (1, changed.shape[0])):
        total = np.cumsum(changed.sum(axis=axis))
        low = int(np.searchsorted(total, 0.01 * total[-1]))
        high = int(np.searchsorted(total, 0.99 * total[-1])) + 1
        out.append((low / size, (high - low) / size))
    return out[0][0], out[1][0], out[0][1], out[1][1]


def _setting(config: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = config.get(name)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return min(max(float(value), low), high) if usable and value is not None else default


def make_worker(settings: Settings | None = None) -> Worker:
    """The worker of `heldar-worker motion`."""
    worker = Worker(settings)
    worker.task("motion")(MotionHandler)
    return worker
