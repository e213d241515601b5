"""Detectors: a picture in, boxes with class and score out.

Owns: models in ONNX format on ONNX Runtime, and OpenCV's people detector as the floor for machines without a
model. A detector is shared by all tasks that name the same model. Safe for several threads.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..frame import Image
from ..models import ModelError
from . import coco
from .heads import NEEDS_SUPPRESSION, Found, Head, UnknownHeadError, decode, fit, recognise, suppress

_DEFAULT_SIZE = 640
_OVERLAP = 0.45
_GREY = 114


class Detector(Protocol):
    """Finds objects in pictures."""

    #: Class names by number.
    names: Sequence[str]
    #: Score from which a box is good enough to begin a track with; weaker ones are often wrong.
    begins_at: float

    def detect(self, image: Image, threshold: float) -> tuple[npt.NDArray[Any], Found]:
        """Boxes (n x 4: x, y, w, h as fractions of the picture) and the raw finds they come from, in the same order."""


class OnnxDetector:
    """A model file, its head recognised or named. Raises `ModelError` when it cannot be used."""

    def __init__(self, path: Path, device: str = "auto", size: int | None = None, head: str | None = None) -> None:
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        # Its threads would otherwise spin between frames, at the cost of everything else on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=_providers(runtime, device))
        # The runtime has a type of its own for each way in which a file can be wrong.
        except Exception as cause:
            raise ModelError(f"{path}: cannot be loaded: {cause}") from cause
        picture = self._session.get_inputs()[0]
        shape = [d if isinstance(d, int) and d > 0 else None for d in picture.shape]
        if len(shape) != 4:
            raise ModelError(f"{path}: its input {picture.shape} is no picture")
        self._channels_last = shape[3] == 3
        self._half = "float16" in picture.type
        high, wide = (shape[1], shape[2]) if self._channels_last else (shape[2], shape[3])
        self.size = (wide or size or _DEFAULT_SIZE, high or size or _DEFAULT_SIZE)
        described = _described_names(self._session.get_modelmeta().custom_metadata_map)
        self.names: Sequence[str] = described or coco.NAMES
        self._outputs = [o.name for o in self._session.get_outputs()]
        shapes = [[d if isinstance(d, int) else None for d in o.shape] for o in self._session.get_outputs()]
        try:
            self.head = (
                Head(head)
                if head
                else recognise(self._outputs, shapes, self._channels_last, len(described) if described else None)
            )
        except UnknownHeadError as cause:
            known = ", ".join(h.value for h in Head)
            raise ModelError(f"{path}: {cause}; name the head in the task's config, one of {known}") from cause
        except ValueError as cause:
            raise ModelError(f"head {head!r}: one of {', '.join(h.value for h in Head)} is expected") from cause
        # Its scores are those of a quality estimate: on footage of people, every second box below this was none.
        self.begins_at = 0.5 if self.head is Head.NANODET else 0.0
        if self.head is Head.RTDETR_NAMED:
            self._outputs = ["labels", "boxes", "scores"]

    def detect(self, image: Image, threshold: float) -> tuple[npt.NDArray[Any], Found]:
        """See `Detector`."""
        height, width = image.shape[:2]
        placement, inner = fit(width, height, self.size, self._keeps_aspect())
        feeds = {self._session.get_inputs()[0].name: self._input(image, inner)}
        if self.head is Head.RTDETR_NAMED and len(self._session.get_inputs()) > 1:
            feeds[self._session.get_inputs()[1].name] = np.array([self.size], dtype=np.int64)
        outputs = [np.asarray(o) for o in self._session.run(self._outputs, feeds)]
        found = decode(self.head, [_float32(o) for o in outputs], self.size, threshold)
        if self.head in NEEDS_SUPPRESSION:
            found = suppress(found, _OVERLAP)
        return placement.to_picture(found.boxes, width, height), found

    def _keeps_aspect(self) -> bool:
        # Each as it was trained: these three saw pictures stretched to the input.
        return self.head not in (Head.CENTERNET, Head.RTDETR, Head.RTDETR_NAMED)

    def _input(self, image: Image, inner: tuple[int, int]) -> npt.NDArray[Any]:
        from PIL import Image as Pictures

        small = np.asarray(Pictures.fromarray(image).resize(inner, Pictures.Resampling.BILINEAR, reducing_gap=3.0))
        wide, high = self.size
        if inner != self.size:
            canvas = np.full((high, wide, 3), _GREY, dtype=np.uint8)
            top, left = (high - inner[1]) // 2, (wide - inner[0]) // 2
            canvas[top : top + inner[1], left : left + inner[0]] = small
            small = canvas
        if self.head is Head.NANODET:
            small = small[:, :, ::-1]
        # Channels are put in place while they are bytes: a quarter of the memory to move.
        ordered = small if self._channels_last else np.transpose(small, (2, 0, 1))
        pixels = np.ascontiguousarray(ordered).astype(np.float32)
        if self.head is Head.NANODET:
            pixels -= _NANODET_MEAN.reshape(3, 1, 1)
            pixels *= _NANODET_SCALE.reshape(3, 1, 1)
        elif self.head is not Head.CENTERNET:
            pixels *= np.float32(1 / 255)
        return pixels[None].astype(np.float16) if self._half else pixels[None]


# Of its training: blue, green, red; mean and deviation of ImageNet in 0..255. NanoDet's input is always NCHW.
_NANODET_MEAN = np.array([103.53, 116.28, 123.675], dtype=np.float32)
_NANODET_SCALE = 1 / np.array([57.375, 57.12, 58.395], dtype=np.float32)


class HogDetector:
    """OpenCV's people detector: upright people only, slow and modest, but there without any model."""

    names: Sequence[str] = ("person",)
    begins_at = 0.7
    # It was trained on people 128 pixels high; cameras show them smaller.
    _ENLARGE = 2

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as cause:
            raise ModelError(str(cause)) from cause
        if not hasattr(cv2, "HOGDescriptor"):
            raise ModelError("this OpenCV has no HOG detector; version 4 is needed")
        self._cv2: Any = cv2
        self._hog = self._cv2.HOGDescriptor()
        self._hog.setSVMDetector(self._cv2.HOGDescriptor_getDefaultPeopleDetector())
        self._lock = threading.Lock()

    def detect(self, image: Image, threshold: float) -> tuple[npt.NDArray[Any], Found]:
        """See `Detector`. The score is a margin turned into 0..1."""
        height, width = image.shape[:2]
        scale = min(self._ENLARGE, 1600 / width)
        large = self._cv2.resize(image, None, fx=scale, fy=scale)
        with self._lock:
            boxes, margins = self._hog.detectMultiScale(large[:, :, ::-1], winStride=(8, 8), scale=1.05)
        corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) / scale
        # The windows it was trained on have a margin of about an eighth around the person.
        corners = corners + corners[:, (2, 3, 2, 3)] * np.array([0.125, 0.125, -0.25, -0.25])
        corners[:, 2:] += corners[:, :2]
        scores = 1.0 / (1.0 + np.exp(-2.0 * np.asarray(margins, dtype=np.float64).reshape(-1)))
        found = Found(corners, scores, np.zeros(len(scores), dtype=np.int64))
        found = suppress(found.pick(found.scores >= threshold), 0.4)
        placement, _ = fit(width, height, (width, height), False)
        return placement.to_picture(found.boxes, width, height), found


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as cause:
        raise ModelError("ONNX Runtime is not installed; run: pip install 'heldar-worker[objects]'") from cause
    return onnxruntime


def has_runtime() -> bool:
    """Whether models can be run at all."""
    try:
        _runtime()
    except ModelError:
        return False
    return True


def _providers(runtime: Any, device: str) -> list[str]:
    available: list[str] = runtime.get_available_providers()
    named = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
    wanted = device.lower().split(":")[0]
    if wanted in ("auto", ""):
        # TensorRT builds an engine for minutes at first use; only on request.
        return [p for p in available if p in (named["cuda"], named["cpu"])] or available
    if wanted.isdigit():
        wanted = "cuda"
    provider = named.get(wanted, device)
    if provider not in available:
        raise ModelError(f"device {device!r} is not there; available: {', '.join(available)}")
    return list(dict.fromkeys([provider, named["cpu"]]))


def _described_names(metadata: Mapping[str, str]) -> list[str] | None:
    """Class names that an exporter wrote into the file, as a Python dictionary or list."""
    try:
        value = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(value, dict) and value and all(isinstance(k, int) and 0 <= k < 10_000 for k in value):
        return [str(value.get(i, i)) for i in range(max(value) + 1)]
    if isinstance(value, (list, tuple)) and value:
        return [str(v) for v in value]
    return None


def _float32(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array
