"""What a handler gives back: detections, and now and then an event.

Owns: the checks that make a result acceptable to any server, done where the mistake was made, and the JSON form.
Invariant: a `Detection` that exists has a box within 0..1 and a confidence within 0..1. Never: a network call.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

#: Most detections of one post (contract, ingest).
MAX_DETECTIONS = 1000
_TEXT_LIMIT = 256
# Boxes may stick out this far before they count as a mistake (contract, ingest checks).
_SLACK = 0.01

Box = tuple[float, float, float, float]


@dataclass
class Detection:
    """One thing seen in one frame.

    `bbox` is `(x, y, w, h)` as fractions of the picture, (x, y) the top-left corner; `from_pixels` converts.
    Raises `ValueError` on values that no server would take.
    """

    label: str | None = None
    confidence: float | None = None
    bbox: Sequence[float] | None = None
    track_id: str | int | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.label is not None:
            self.label = _text("label", self.label)
        if self.track_id is not None:
            self.track_id = _text("track_id", self.track_id)
        if self.confidence is not None:
            self.confidence = _fraction("confidence", self.confidence)
        if self.bbox is not None:
            self.bbox = checked_box(self.bbox)

    @classmethod
    def from_pixels(
        cls,
        box: Sequence[float],
        frame: Any,
        label: str | None = None,
        confidence: float | None = None,
        *,
        corners: bool = False,
        track_id: str | int | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> Detection:
        """Make a detection from a box in pixels of `frame`.

        `box` is `(x, y, w, h)`, or `(x0, y0, x1, y1)` with `corners=True`. What sticks out of the picture is cut.
        """
        values = [float(v) for v in box]
        if len(values) != 4 or not all(math.isfinite(v) for v in values):
            raise ValueError(f"bbox: four finite numbers expected, not {box!r}")
        x0, y0, a, b = values
        x1, y1 = (a, b) if corners else (x0 + a, y0 + b)
        if x1 < x0 or y1 < y0:
            raise ValueError(f"bbox: negative size in {box!r}")
        width, height = float(frame.width), float(frame.height)
        left, right = (min(max(v / width, 0.0), 1.0) for v in (x0, x1))
        top, bottom = (min(max(v / height, 0.0), 1.0) for v in (y0, y1))
        return cls(label, confidence, (left, top, right - left, bottom - top), track_id, dict(attributes or {}))

    def to_json(self) -> dict[str, Any]:
        """The form that is posted; absent fields are left out."""
        out: dict[str, Any] = {}
        if self.label is not None:
            out["label"] = self.label
        if self.confidence is not None:
            out["confidence"] = self.confidence
        if self.bbox is not None:
            out["bbox"] = [round(float(v), 6) for v in self.bbox]
        if self.track_id is not None:
            out["track_id"] = self.track_id
        if self.attributes:
            out["attributes"] = dict(self.attributes)
        return out


@dataclass(frozen=True)
class Event:
    """Something people should be told of. Rare: an event per frame is a mistake."""

    event_type: str
    severity: str = "info"
    payload: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The form that is posted."""
        return {"event_type": self.event_type, "severity": self.severity, "payload": dict(self.payload)}


@dataclass
class Result:
    """Detections of one frame with an event; a handler without events may give back detections alone."""

    detections: Sequence[Detection] = ()
    event: Event | None = None


#: What a handler may give back. `None` means: nothing seen.
Outcome = Union[Result, Iterable[Detection], None]


def as_result(outcome: Outcome) -> Result:
    """Normalise what a handler gave back. Raises `TypeError` for anything else."""
    if outcome is None:
        return Result()
    if isinstance(outcome, Result):
        found, event = list(outcome.detections), outcome.event
    elif isinstance(outcome, Iterable) and not isinstance(outcome, (str, bytes, Mapping)):
        found, event = list(outcome), None
    else:
        raise TypeError(f"a handler gives back detections or a Result, not {type(outcome).__name__}")
    for item in found:
        if not isinstance(item, Detection):
            raise TypeError(f"a handler gives back Detection objects, not {type(item).__name__}")
    return Result(found, event)


def checked_box(box: Sequence[float]) -> Box:
    """The box within 0..1, or `ValueError` with a hint."""
    values = [float(v) for v in box]
    if len(values) != 4 or not all(math.isfinite(v) for v in values):
        raise ValueError(f"bbox: four finite numbers expected, not {box!r}")
    x, y, w, h = values
    if w < 0 or h < 0:
        raise ValueError(f"bbox: negative size in {values}")
    if min(x, y) < -_SLACK or max(x + w, y + h) > 1 + _SLACK:
        raise ValueError(f"bbox: {values} lies outside 0..1; is it in pixels? use Detection.from_pixels")
    left, top = max(x, 0.0), max(y, 0.0)
    return left, top, max(min(x + w, 1.0) - left, 0.0), max(min(y + h, 1.0) - top, 0.0)


def _text(name: str, value: object) -> str:
    text = str(value)
    if len(text) > _TEXT_LIMIT:
        raise ValueError(f"{name}: longer than {_TEXT_LIMIT} characters")
    return text


def _fraction(name: str, value: float) -> float:
    number = float(value)
    # Rounding in a model's arithmetic is no mistake of its author.
    if not -1e-3 <= number <= 1 + 1e-3:
        raise ValueError(f"{name}: {number} is not within 0..1")
    return min(max(number, 0.0), 1.0)
