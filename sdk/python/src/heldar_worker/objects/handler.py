"""Tasks of type `detection` and `yolo`: boxes with ids, and an event once per new object.

Owns: the config keys of these task types (contract 2.4), the choice of the model, one tracker per task, and
what counts as news. Invariant: an object raises at most one event, whatever flickers.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .. import models
from ..detection import Detection, Event, Result
from ..frame import Frame, TaskError, WorkerTask
from ..log import logger
from ..models import ModelError
from ..settings import Settings
from ..tracking import Tracker, TrackerOptions
from ..worker import Worker
from . import coco
from .detector import Detector, HogDetector, OnnxDetector, has_runtime

TASK_TYPES = ("detection", "yolo")
_DEFAULT_MODEL = "nanodet"
#: The contract's default name, which stands for "the usual detector".
_USUAL_WEIGHTS = "yolov8n.pt"
_HELP = (
    "run: pip install 'heldar-worker[objects]' && heldar-worker models get nanodet; or name an ONNX file as `weights` "
    "in the task's config; or, for people only and with less accuracy, pip install 'heldar-worker[hog]'"
)


@dataclass(frozen=True)
class ObjectConfig:
    """A task's settings, read and checked once. Raises `ValueError` naming the key."""

    weights: str | None
    threshold: float
    classes: Sequence[int | str] | None
    imgsz: int | None
    device: str
    emit_events: bool
    alert_classes: Sequence[int | str]
    head: str | None
    #: Score from which an object gets an id; by default a little above `threshold`, or what suits the model.
    track_threshold: float | None = None

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ObjectConfig:
        """Read a task's config; unknown keys are none of our business."""

        def get(name: str, kinds: tuple[type, ...], default: Any) -> Any:
            value = config.get(name)
            if value is None:
                return default
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise ValueError(f"config {name}: {value!r} is of no use here")
            return value

        imgsz = get("imgsz", (int, list), None)
        size = imgsz if not isinstance(imgsz, list) else (imgsz[0] if imgsz and isinstance(imgsz[0], int) else None)
        return cls(
            get("weights", (str,), None),
            min(max(float(get("threshold", (int, float), 0.25)), 0.01), 1.0),
            _classes(get("classes", (list, int, str), None)),
            min(max(size, 32), 4096) if size else None,
            str(get("device", (str, int), "auto")),
            get("emit_events", (bool,), True),
            _classes(get("alert_classes", (list, int, str), None)) or coco.ALERT,
            get("head", (str,), None),
            get("track_threshold", (int, float), None),
        )


def _classes(value: list[Any] | int | str | None) -> Sequence[int | str] | None:
    if value is None:
        return None
    if isinstance(value, (int, str)):
        return [value]
    chosen = [v for v in value if isinstance(v, (int, str)) and not isinstance(v, bool)]
    return chosen or None


class Detectors:
    """Loaded models by file and settings, so that many tasks share one. The least recently asked for go first."""

    _KEPT = 8

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: OrderedDict[tuple[Any, ...], Detector] = OrderedDict()

    def get(self, config: ObjectConfig) -> Detector:
        """The detector for a config. Raises `ModelError`."""
        path = find_weights(config.weights)
        key = (path, config.device, config.imgsz, config.head)
        make: Callable[[], Detector] = HogDetector
        if path is not None:
            file = path

            def make() -> Detector:
                return OnnxDetector(file, config.device, config.imgsz, config.head)

        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = make()
                logger.info("detector: %s", path or "OpenCV HOG, people only")
                while len(self._loaded) > self._KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]


def find_weights(weights: str | None) -> Path | None:
    """The file for `weights`; None means the people detector without a model. Raises `ModelError`.

    A path to an ONNX file is taken as it is. The name of a known model means the one in the cache. For a PyTorch file
    the ONNX file of the same name is taken, beside it or in the cache.
    """
    if weights and "://" in weights:
        raise ModelError(f"weights {weights!r}: a file is expected, nothing is downloaded on a task's word")
    if weights and weights not in models.KNOWN:
        named = Path(weights)
        onnx = named.with_suffix(".onnx")
        for candidate in (onnx, models.folder() / onnx.name):
            if candidate.is_file():
                return candidate
        if weights != _USUAL_WEIGHTS:
            hint = " (PyTorch files are not read; export to ONNX)" if named.suffix == ".pt" else ""
            raise ModelError(f"weights {weights!r}: no such file{hint}")
    known = models.cached(weights if weights in models.KNOWN else _DEFAULT_MODEL)
    if known is not None and has_runtime():
        return known
    if weights in models.KNOWN:
        raise ModelError(f"weights {weights!r}: not fetched yet; run: heldar-worker models get {weights}")
    try:
        import cv2  # noqa: F401 - optional
    except ImportError:
        if known is not None:
            raise ModelError("ONNX Runtime is not installed; run: pip install 'heldar-worker[objects]'") from None
        raise ModelError(f"no model is there; {_HELP}") from None
    return None


_DETECTORS = Detectors()


class ObjectHandler:
    """One task's detector, tracker and memory of what was reported."""

    # Events wait here when several objects appear in one frame: a post carries one.
    _QUEUED = 32

    def __init__(self, task: WorkerTask, detectors: Detectors | None = None) -> None:
        try:
            self._config = ObjectConfig.parse(task.config)
            self._detector = (detectors or _DETECTORS).get(self._config)
        except (ModelError, ValueError) as error:
            raise TaskError(str(error)) from error
        self._classes = self._numbers(self._config.classes)
        self._alert = self._numbers(self._config.alert_classes) or set()
        threshold = self._config.threshold
        low = min(0.1, threshold)
        high = max(threshold, min(self._detector.begins_at, 0.3))
        new = self._config.track_threshold
        if new is None:
            new = min(max(threshold + 0.1, self._detector.begins_at), 1.0)
        self._tracker = Tracker(TrackerOptions(high=high, low=low, new=new, keep=threshold))
        self._low = low
        self._reported: OrderedDict[str, None] = OrderedDict()
        self._events: deque[Event] = deque(maxlen=self._QUEUED)

    def analyze(self, frame: Frame) -> Result:
        """Detections of the frame, most with an id, and at most one event."""
        boxes, found = self._detector.detect(frame.image, self._low)
        seen = []
        for box, score, number in zip(boxes, found.scores, found.classes):
            wanted = self._classes is None or int(number) in self._classes
            if wanted and box[2] > 0 and box[3] > 0:
                name = self._name(int(number))
                seen.append(
                    Detection(name, float(min(score, 1.0)), [float(v) for v in box], None, {"class_id": int(number)})
                )
        tracked = self._tracker.update(seen, frame.captured_at)
        if self._config.emit_events:
            self._note_news(tracked)
        return Result(tracked, self._events.popleft() if self._events else None)

    def _note_news(self, tracked: Sequence[Detection]) -> None:
        # People first, should more appear at once than can be told.
        for detection in sorted(tracked, key=lambda d: d.label != "person"):
            identity = detection.track_id
            if identity is None or detection.attributes["class_id"] not in self._alert:
                continue
            if identity in self._reported:
                self._reported.move_to_end(str(identity))
                continue
            self._reported[str(identity)] = None
            while len(self._reported) > 10_000:
                self._reported.popitem(last=False)
            self._events.append(
                Event(
                    "object_detected",
                    "warning" if detection.label == "person" else "info",
                    {**detection.to_json(), "class_id": detection.attributes["class_id"]},
                )
            )

    def _name(self, number: int) -> str:
        names = self._detector.names
        return names[number] if 0 <= number < len(names) else f"class_{number}"

    def _numbers(self, classes: Sequence[int | str] | None) -> set[int] | None:
        if classes is None:
            return None
        names = {name: number for number, name in enumerate(self._detector.names)}
        out = set()
        for item in classes:
            if isinstance(item, int):
                out.add(item)
            elif item.isdigit():
                out.add(int(item))
            elif item in names:
                out.add(names[item])
            elif item not in coco.NAMES:
                logger.warning("config: this model has no class %r", item)
        return out


def make_worker(settings: Settings | None = None) -> Worker:
    """The worker of `heldar-worker objects`. Raises `ModelError` when it could serve no task at all."""
    # A picture of nothing now, so that the first real one is not the slow one.
    detector = _DETECTORS.get(ObjectConfig.parse({}))
    detector.detect(np.zeros((360, 640, 3), dtype=np.uint8), 0.5)
    worker = Worker(settings)
    worker.task(*TASK_TYPES)(ObjectHandler)
    return worker


def usual_detector() -> str:
    """What finds objects for a task that names no model: `<name>: <file>`. Raises `ModelError` when nothing does."""
    config = ObjectConfig.parse({})
    path = find_weights(config.weights)
    # That a file is there does not tell that it can be used.
    _DETECTORS.get(config)
    return "hog: OpenCV's people detector" if path is None else f"{path.stem}: {path}"
