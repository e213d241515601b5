"""From boxes in single frames to objects with stable ids.

Owns: association in the manner of ByteTrack (Zhang et al., 2022): confident boxes are matched first, weak
ones only continue tracks that exist. Between frames each track is predicted by a Kalman filter of constant
velocity.

Invariants: an id never names two objects at once and is never used again; the same boxes at the same times
give the same ids, on any machine; memory is bounded by the objects in sight plus those lost in the last
`lost_seconds`. Pure: time is an input. Not thread-safe: one tracker per task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from .assignment import assign
from .detection import Detection

Array = npt.NDArray[np.float64]

# Noise relative to the box height, as is usual for people and vehicles seen from a fixed camera.
_POSITION_NOISE = 1 / 20
_VELOCITY_NOISE_PER_SECOND = 1 / 4


@dataclass(frozen=True)
class TrackerOptions:
    """How strict the tracker is. Scores are 0..1, overlaps are intersection over union."""

    #: From this score on a box may be matched to any track.
    high: float = 0.5
    #: Below this score a box is ignored.
    low: float = 0.1
    #: From this score on an unmatched box begins a track.
    new: float = 0.6
    #: Least overlap of a confident box with the predicted one.
    overlap: float = 0.2
    #: Least overlap of a weak box; stricter, because a weak box is evidence only where one is expected.
    weak_overlap: float = 0.5
    #: In a last round boxes are widened by this share of their size, for objects that move far between frames.
    widen: float = 0.5
    #: From this score on a box without a track is passed on all the same; None = `high`.
    keep: float | None = None
    #: Frames an object is seen in before it gets an id.
    min_hits: int = 2
    #: How long an object may be out of sight and keep its id.
    lost_seconds: float = 2.0


class _Track:
    """Position and size as four independent filters of value and velocity."""

    def __init__(self, box: Array, label: str | None, at: float) -> None:
        self.number: int | None = None
        self.label = label
        self.hits = 1
        self.seen_at = at
        self.time = at
        self.value = _centred(box)
        self.speed = np.zeros(4)
        scale = max(float(box[3]), 1e-6)
        # Covariance of each (value, speed) pair: value, mixed, speed.
        self.p_value = np.full(4, (2 * _POSITION_NOISE * scale) ** 2)
        self.p_mixed = np.zeros(4)
        self.p_speed = np.full(4, (4 * _VELOCITY_NOISE_PER_SECOND * scale) ** 2)

    def predict(self, at: float) -> None:
        dt = max(at - self.time, 0.0)
        self.time = max(at, self.time)
        noise = (_VELOCITY_NOISE_PER_SECOND * max(self.value[3], 1e-6)) ** 2 * dt
        self.value = self.value + dt * self.speed
        self.value[2:] = np.maximum(self.value[2:], 1e-6)
        self.p_value = self.p_value + 2 * dt * self.p_mixed + dt * dt * self.p_speed + noise * dt * dt / 3
        self.p_mixed = self.p_mixed + dt * self.p_speed + noise * dt / 2
        self.p_speed = self.p_speed + noise

    def correct(self, box: Array, at: float) -> None:
        measured = _centred(box)
        noise = (_POSITION_NOISE * max(float(box[3]), 1e-6)) ** 2
        total = self.p_value + noise
        gain_value, gain_speed = self.p_value / total, self.p_mixed / total
        error = measured - self.value
        self.value = self.value + gain_value * error
        self.value[2:] = np.maximum(self.value[2:], 1e-6)
        self.speed = self.speed + gain_speed * error
        self.p_speed = self.p_speed - gain_speed * self.p_mixed
        self.p_mixed = (1 - gain_value) * self.p_mixed
        self.p_value = (1 - gain_value) * self.p_value
        self.hits += 1
        self.seen_at = at

    def lost(self) -> None:
        # A size that goes on shrinking or growing unseen would soon match nothing.
        self.speed[2:] = 0.0

    def box(self) -> Array:
        x, y, w, h = self.value
        return np.array([x - w / 2, y - h / 2, w, h])


class Tracker:
    """Gives boxes of successive frames the ids of their objects."""

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self.options = options or TrackerOptions()
        self._tracks: list[_Track] = []
        self._count = 0
        self._prefix: str | None = None
        self._last: float | None = None

    def update(self, detections: Iterable[Detection], at: datetime | float) -> list[Detection]:
        """The detections of the frame captured at `at` (seconds, or a datetime), with `track_id` where one is known.

        Boxes below `keep` without a track are left out; detections without a box pass
        unchanged. A detection without confidence counts as certain. Frames come in the order of their
        capture.
        """
        moment = at.timestamp() if isinstance(at, datetime) else float(at)
        given = list(detections)
        with_box = [d for d in given if d.bbox is not None]
        boxes = np.array([d.bbox for d in with_box], dtype=np.float64).reshape(-1, 4)
        scores = np.array([1.0 if d.confidence is None else d.confidence for d in with_box])
        ids = self.assign_ids(boxes, scores, [d.label for d in with_box], moment)
        keep = self.options.high if self.options.keep is None else self.options.keep
        out = [d for d in given if d.bbox is None]
        for detection, score, identity in zip(with_box, scores, ids):
            if identity is not None:
                out.append(replace(detection, track_id=identity))
            elif score >= keep:
                out.append(detection)
        return out

    def assign_ids(self, boxes: Array, scores: Array, labels: Sequence[str | None], at: float) -> list[str | None]:
        """The id of each box (n x 4: x, y, w, h in any one unit), None where none is given (yet)."""
        if self._last is not None and at < self._last - 60:
            # The clock was set back: positions of before say nothing about now.
            self._tracks.clear()
        self._last = at
        if self._prefix is None:
            # Ids stay apart across restarts of the worker, and are the same for the same footage.
            self._prefix = _base36(max(int(at * 1000), 0))
        options = self.options
        for track in self._tracks:
            track.predict(at)
        taken: dict[int, _Track] = {}
        strong = np.flatnonzero(scores >= options.high)
        weak = np.flatnonzero((scores >= options.low) & (scores < options.high))
        tracks = list(self._tracks)
        tracks = self._match(tracks, strong, boxes, labels, taken, options.overlap, 0.0)
        # Only what was in sight a moment ago is continued by a weak box; else noise revives what has left.
        visible = [t for t in tracks if t.hits > 1 and at - t.seen_at <= options.lost_seconds / 2]
        still = self._match(visible, weak, boxes, labels, taken, options.weak_overlap, 0.0)
        tracks = [t for t in tracks if t not in visible or t in still]
        tracks = self._match(tracks, strong, boxes, labels, taken, options.overlap, options.widen)
        for found, track in taken.items():
            track.correct(boxes[found], at)
        for track in tracks:
            track.lost()
        # An object seen once and not again was none.
        self._tracks = [
            t
            for t in self._tracks
            if t not in tracks or (t.number is not None and at - t.seen_at <= options.lost_seconds)
        ]
        for index in map(int, strong):
            if index not in taken and scores[index] >= options.new:
                taken[index] = _Track(boxes[index], labels[index], at)
                self._tracks.append(taken[index])
        return [self._identity(taken.get(i)) for i in range(len(boxes))]

    def _match(
        self,
        tracks: list[_Track],
        candidates: npt.NDArray[np.intp],
        boxes: Array,
        labels: Sequence[str | None],
        taken: dict[int, _Track],
        overlap: float,
        widen: float,
    ) -> list[_Track]:
        """Pair tracks with boxes that are free; the tracks that found none."""
        free = [int(i) for i in candidates if int(i) not in taken]
        if not tracks or not free:
            return tracks
        costs = 1.0 - overlaps(np.array([t.box() for t in tracks]), boxes[free], widen)
        same = np.array([[t.label == labels[i] for i in free] for t in tracks])
        pairs = assign(np.where(same, costs, 2.0), 1.0 - overlap)
        matched = set()
        for row, column in pairs:
            taken[free[column]] = tracks[row]
            matched.add(row)
        return [t for row, t in enumerate(tracks) if row not in matched]

    def _identity(self, track: _Track | None) -> str | None:
        if track is None or track.hits < self.options.min_hits:
            return None
        if track.number is None:
            self._count += 1
            track.number = self._count
        return f"{self._prefix}-{track.number}"


def overlaps(first: Array, second: Array, widen: float = 0.0) -> Array:
    """Intersection over union of each pair of boxes (x, y, w, h), after widening each by a share of its size."""
    a, b = _corners(first, widen), _corners(second, widen)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    area_a, area_b = (np.prod(c[:, 2:] - c[:, :2], axis=1) for c in (a, b))
    union = area_a[:, None] + area_b[None, :] - shared
    return np.where(union > 0, shared / np.maximum(union, 1e-12), 0.0)


def _corners(boxes: Array, widen: float) -> Array:
    margin = boxes[:, 2:] * (widen / 2)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, :2] + boxes[:, 2:] + margin], axis=1)


def _centred(box: Array) -> Array:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2, box[2], box[3]], dtype=np.float64)


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
        if number == 0:
            return digits
