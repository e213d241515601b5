"""From the raw outputs of a detector to boxes.

Owns: the output forms of common detectors, how each is recognised, and how each wants its picture. Pure
arithmetic: no model runtime is needed here. Boxes are corners (x0, y0, x1, y1) in pixels of the model's
input.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Head(enum.Enum):
    """An output form; the value is its name in a task's config."""

    #: Per scale [1, N, classes] scores and [1, N, 4 x bins] distances of the four sides.
    NANODET = "nanodet"
    #: [1, N, 6]: corners in pixels, score, class; input NHWC, 0..255.
    CENTERNET = "centernet"
    #: [1, N, 6] as above; input NCHW, 0..1 (YOLOv10 and others that need no suppression).
    END_TO_END = "end2end"
    #: [1, 4 + classes, N]: centre and size in pixels, class scores.
    YOLOV8 = "yolov8"
    #: [1, N, 5 + classes]: centre and size in pixels, objectness, class scores.
    YOLOV5 = "yolov5"
    #: [1, N, 4] and [1, N, classes], or both in one: centre and size as fractions, class logits or scores.
    RTDETR = "rtdetr"
    #: Three outputs named labels, boxes, scores; boxes are corners in pixels of the size given as second input.
    RTDETR_NAMED = "rtdetr-named"


@dataclass(frozen=True)
class Found:
    """Boxes of one picture: n x 4 corners, n scores, n class numbers."""

    boxes: Array
    scores: Array
    classes: Array

    def pick(self, which: Array) -> Found:
        """Those of the given mask or indices."""
        return Found(self.boxes[which], self.scores[which], self.classes[which])


class UnknownHeadError(ValueError):
    """The outputs look like no known detector."""


def recognise(
    output_names: Sequence[str],
    shapes: Sequence[Sequence[int | None]],
    channels_last: bool,
    class_count: int | None = None,
) -> Head:
    """The head of a model from the names and shapes of its outputs; None stands for a size that is not fixed.

    `class_count` is that of the model's own description, where it has one. Raises `UnknownHeadError`.
    """
    if {"labels", "boxes", "scores"} <= set(output_names):
        return Head.RTDETR_NAMED
    last = [s[-1] for s in shapes if len(s) == 3]
    if len(last) != len(shapes):
        raise UnknownHeadError(f"outputs of shape {[list(s) for s in shapes]}")
    if len(last) == 1:
        return _single(shapes[0], channels_last, class_count)
    if len(last) == 2 and 4 in last:
        return Head.RTDETR
    if len(last) % 2 == 0 and _distance_width(last) is not None:
        return Head.NANODET
    raise UnknownHeadError(f"outputs of shape {[list(s) for s in shapes]}")


def _single(shape: Sequence[int | None], channels_last: bool, class_count: int | None) -> Head:
    _, middle, last = shape
    if last == 6 and class_count in (None, 80) and (middle is None or middle > 6):
        return Head.CENTERNET if channels_last else Head.END_TO_END
    if middle is not None and (last is None or last > middle):
        return Head.YOLOV8
    if last is not None:
        if class_count is not None and last == class_count + 4:
            return Head.RTDETR
        # A few hundred rows are the queries of a transformer, thousands are the cells of a grid.
        if class_count is None and middle is not None and middle <= 1000:
            return Head.RTDETR
        return Head.YOLOV5
    raise UnknownHeadError(f"an output of shape {list(shape)}")


def _distance_width(last: Sequence[int | None]) -> int | None:
    """The width of NanoDet's distance outputs: one of two widths, a multiple of 4."""
    widths = sorted({w for w in last if w is not None})
    if len(widths) != 2 or any(last.count(w) != len(last) // 2 for w in widths):
        return None
    # 8 to 17 bins are in use; class counts only rarely fall into the same numbers.
    fitting = [w for w in widths if w % 4 == 0 and 28 <= w <= 68]
    return fitting[0] if fitting else None


def decode(head: Head, outputs: Sequence[Array], size: tuple[int, int], threshold: float) -> Found:
    """Boxes with a score of at least `threshold`, overlaps left in. `size`: model input, width, height."""
    if head is Head.NANODET:
        return _nanodet(outputs, size, threshold)
    if head in (Head.CENTERNET, Head.END_TO_END):
        rows = outputs[0][0]
        return _above(Found(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)), threshold)
    if head is Head.YOLOV8:
        rows = outputs[0][0].T
        return _best_class(_corners(rows[:, :4]), rows[:, 4:], threshold)
    if head is Head.YOLOV5:
        rows = outputs[0][0]
        return _best_class(_corners(rows[:, :4]), rows[:, 5:] * rows[:, 4:5], threshold)
    if head is Head.RTDETR:
        return _rtdetr(outputs, size, threshold)
    labels, boxes, scores = outputs
    return _above(Found(boxes[0], scores[0], labels[0].astype(np.int64)), threshold)


def _nanodet(outputs: Sequence[Array], size: tuple[int, int], threshold: float) -> Found:
    width = _distance_width([o.shape[-1] for o in outputs])
    if width is None:
        raise UnknownHeadError(f"outputs of shape {[o.shape for o in outputs]}")
    parts = []
    cells = sorted({o.shape[1] for o in outputs}, reverse=True)
    for count in cells:
        scores = next(o[0] for o in outputs if o.shape[1] == count and o.shape[-1] != width)
        sides = next(o[0] for o in outputs if o.shape[1] == count and o.shape[-1] == width)
        stride = math.sqrt(size[0] * size[1] / count)
        best = scores.max(axis=1)
        keep = np.flatnonzero(best >= threshold)
        columns = round(size[0] / stride)
        centres = np.stack([keep % columns + 0.5, keep // columns + 0.5], axis=1) * stride
        # Each side is a distribution over distances of 0, 1, 2 ... strides; its mean is the distance.
        bins = sides[keep].reshape(len(keep), 4, width // 4)
        shares = np.exp(bins - bins.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        reach = (shares * np.arange(width // 4)).sum(axis=2) * stride
        boxes = np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1)
        parts.append(Found(boxes, best[keep], scores[keep].argmax(axis=1)))
    return Found(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.scores for p in parts]),
        np.concatenate([p.classes for p in parts]),
    )


def _rtdetr(outputs: Sequence[Array], size: tuple[int, int], threshold: float) -> Found:
    if len(outputs) == 1:
        boxes, scores = outputs[0][0][:, :4], outputs[0][0][:, 4:]
    else:
        boxes = next(o[0] for o in outputs if o.shape[-1] == 4)
        scores = next(o[0] for o in outputs if o.shape[-1] != 4)
    if scores.size and (scores.min() < 0.0 or scores.max() > 1.0):
        scores = 1.0 / (1.0 + np.exp(-np.clip(scores, -60.0, 60.0)))
    return _best_class(_corners(boxes * np.array([*size, *size])), scores, threshold)


def _corners(boxes: Array) -> Array:
    half = boxes[:, 2:4] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def _best_class(boxes: Array, scores: Array, threshold: float) -> Found:
    best = scores.max(axis=1) if scores.shape[1] else np.zeros(len(scores))
    keep = np.flatnonzero(best >= threshold)
    return Found(boxes[keep], best[keep], scores[keep].argmax(axis=1) if len(keep) else keep)


def _above(found: Found, threshold: float) -> Found:
    return found.pick(found.scores >= threshold)


#: Heads whose boxes overlap many times over.
NEEDS_SUPPRESSION = frozenset({Head.NANODET, Head.YOLOV5, Head.YOLOV8, Head.CENTERNET})


def suppress(found: Found, overlap: float, limit: int = 300) -> Found:
    """The most confident of boxes of one class that overlap more than `overlap`, at most `limit`, best first."""
    order = np.argsort(-found.scores, kind="stable")[:2000]
    boxes, classes = found.boxes[order], found.classes[order]
    area = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    alive = np.ones(len(order), dtype=bool)
    kept: list[int] = []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == limit:
            break
        low = np.maximum(boxes[i, :2], boxes[i + 1 :, :2])
        high = np.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = area[i] + area[i + 1 :] - shared
        alive[i + 1 :] &= ~((shared > overlap * union) & (classes[i + 1 :] == classes[i]))
    return found.pick(order[kept])


@dataclass(frozen=True)
class Placement:
    """Where a picture lies inside the model's input, to map boxes back."""

    scale_x: float
    scale_y: float
    left: float
    top: float

    def to_picture(self, boxes: Array, width: int, height: int) -> Array:
        """Boxes as (x, y, w, h) fractions of the picture, cut at its edges."""
        x = (boxes[:, (0, 2)] - self.left) / self.scale_x / width
        y = (boxes[:, (1, 3)] - self.top) / self.scale_y / height
        x, y = np.clip(np.sort(x, axis=1), 0, 1), np.clip(np.sort(y, axis=1), 0, 1)
        return np.stack([x[:, 0], y[:, 0], x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], axis=1)


def fit(width: int, height: int, size: tuple[int, int], keep_aspect: bool) -> tuple[Placement, tuple[int, int]]:
    """How a picture goes into an input of `size`: the placement, and the size it is scaled to."""
    if not keep_aspect:
        return Placement(size[0] / width, size[1] / height, 0.0, 0.0), size
    scale = min(size[0] / width, size[1] / height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    return Placement(inner[0] / width, inner[1] / height, float(left), float(top)), inner
