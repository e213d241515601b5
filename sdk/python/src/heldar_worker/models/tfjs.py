"""From a TensorFlow.js graph model to ONNX, for the operators of small convolutional detectors.

Owns: reading `model.json` and its weights, and the translation. TensorFlow keeps pictures as NHWC, ONNX as
NCHW. Each value is therefore an ONNX value with a permutation that would make it the TensorFlow value;
transpositions only change the permutation, and one becomes a node where a value's order really matters.
Everything is static: shapes are known and checked on the way. Unknown operators are refused, never guessed.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from .onnx_writer import Graph

Constant = npt.NDArray[Any]
_OPSET = 13
_TO_NCHW = (0, 3, 1, 2)
_FROM_NCHW = (0, 2, 3, 1)


class ConversionError(Exception):
    """The model holds something this converter does not know."""


@dataclass(frozen=True)
class _Tensor:
    """An ONNX value; axis `i` of the TensorFlow value is axis `order[i]` of it."""

    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]


_Value = Union[_Tensor, Constant]


def convert(model_json: bytes, weights: bytes) -> bytes:
    """The ONNX file of a graph model. Raises `ConversionError`."""
    try:
        model = json.loads(model_json)
        constants = _weights(model["weightsManifest"], weights)
        return _Converter(model, constants).run()
    except (KeyError, IndexError, TypeError, ValueError) as cause:
        raise ConversionError(f"not a graph model this converter knows: {cause!r}") from cause


def _weights(manifest: Sequence[Mapping[str, Any]], data: bytes) -> dict[str, Constant]:
    out: dict[str, Constant] = {}
    at = 0
    for entry in (w for group in manifest for w in group["weights"]):
        stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
        kind = {"float32": "<f4", "float16": "<f2", "int32": "<i4"}.get(stored)
        if kind is None:
            raise ConversionError(f"weights of type {stored}")
        count = math.prod(entry["shape"])
        array = np.frombuffer(data, kind, count, at).reshape(entry["shape"])
        at += array.nbytes
        out[entry["name"]] = array.astype("float32" if array.dtype.kind == "f" else "int64")
    if at != len(data):
        raise ConversionError("the weights do not fit their description")
    return out


class _Converter:
    def __init__(self, model: Mapping[str, Any], constants: Mapping[str, Constant]) -> None:
        self._graph = Graph()
        self._nodes = {n["name"]: n for n in model["modelTopology"]["node"]}
        self._signature = model["signature"]
        self._values: dict[str, list[_Value]] = {name: [array] for name, array in constants.items()}
        for spec in self._signature["inputs"].values():
            shape = tuple(int(d["size"]) for d in spec["tensorShape"]["dim"])
            name = self._graph.input(spec["name"], shape)
            self._values[spec["name"].split(":")[0]] = [_Tensor(name, shape, tuple(range(len(shape))))]

    def run(self) -> bytes:
        for spec in sorted(self._signature["outputs"].values(), key=lambda s: str(s["name"])):
            value = self._tensor(self._value(spec["name"].split(":")[0]))
            plain = self._plain(value)
            self._graph.node("Identity", [plain.name], [spec["name"]])
            self._graph.output(spec["name"], plain.shape)
        return self._graph.serialize(_OPSET, "heldar-worker")

    def _value(self, reference: str) -> _Value:
        name, _, position = reference.partition(":")
        # Depth first without recursion: graphs are deeper than Python's stack.
        waiting = [name]
        while waiting:
            current = waiting[-1]
            if current in self._values:
                waiting.pop()
                continue
            node = self._nodes[current]
            inputs = [i.partition(":")[0] for i in node.get("input", [])]
            missing = [i for i in inputs if i not in self._values]
            if missing:
                waiting.extend(missing)
                continue
            self._values[current] = self._translate(node)
            waiting.pop()
        return self._values[name][int(position or 0)]

    def _translate(self, node: Mapping[str, Any]) -> list[_Value]:
        handler = getattr(self, f"_op_{node['op'].lower()}", None)
        if handler is None:
            raise ConversionError(f"operator {node['op']}")
        inputs = [self._value(i) for i in node.get("input", [])]
        result: _Value | list[_Value] = handler(node.get("attr", {}), *inputs)
        return result if isinstance(result, list) else [result]

    # Helpers

    def _tensor(self, value: _Value) -> _Tensor:
        if isinstance(value, _Tensor):
            return value
        return _Tensor(self._graph.constant(value), value.shape, tuple(range(value.ndim)))

    def _ordered(self, value: _Value, order: tuple[int, ...]) -> _Tensor:
        """The ONNX value whose axis `i` is the TensorFlow value's axis `order[i]`."""
        tensor = self._tensor(value)
        wanted = tuple(tensor.order[i] for i in order)
        if wanted == tuple(range(len(wanted))):
            return _Tensor(tensor.name, tensor.shape, _inverse(order))
        (name,) = self._graph.node("Transpose", [tensor.name], perm=wanted)
        return _Tensor(name, tuple(tensor.shape[i] for i in wanted), _inverse(order))

    def _plain(self, value: _Value) -> _Tensor:
        rank = len(value.shape)
        return self._ordered(value, tuple(range(rank)))

    def _same_form(self, op: str, value: _Value, **attributes: float) -> _Tensor:
        tensor = self._tensor(value)
        (name,) = self._graph.node(op, [tensor.name], 1, **attributes)
        return _Tensor(name, tensor.shape, tensor.order)

    def _ints(self, values: Sequence[int]) -> str:
        return self._graph.constant(np.array(values, dtype=np.int64))

    # Operators

    def _op_identity(self, _attr: Any, x: _Value) -> _Value:
        return x

    def _op_leakyrelu(self, attr: Any, x: _Value) -> _Value:
        return self._same_form("LeakyRelu", x, alpha=float(attr["alpha"]["f"]))

    def _op_sigmoid(self, _attr: Any, x: _Value) -> _Value:
        return self._same_form("Sigmoid", x)

    def _op_transpose(self, _attr: Any, x: _Value, order: Constant) -> _Value:
        axes = [int(i) for i in order]
        if not isinstance(x, _Tensor):
            return np.transpose(x, axes)
        return _Tensor(x.name, x.shape, tuple(x.order[i] for i in axes))

    def _op_add(self, _attr: Any, a: _Value, b: _Value) -> _Value:
        if not isinstance(a, _Tensor) and not isinstance(b, _Tensor):
            return np.asarray(a + b)
        if not isinstance(a, _Tensor):
            a, b = b, a
        first = self._tensor(a)
        if isinstance(b, _Tensor):
            if len(b.shape) != len(first.shape):
                raise ConversionError("addition of values of different rank")
            second = self._ordered(b, _inverse(first.order))
        else:
            wide = b.reshape((1,) * (len(first.shape) - b.ndim) + b.shape)
            second = self._tensor(np.transpose(wide, _inverse(first.order)))
        shape = np.broadcast_shapes(first.shape, second.shape)
        (name,) = self._graph.node("Add", [first.name, second.name])
        return _Tensor(name, tuple(shape), first.order)

    _op_addv2 = _op_add

    def _op_pad(self, _attr: Any, x: _Value, pads: Constant, fill: Constant | None = None) -> _Value:
        tensor = self._tensor(x)
        along = [(0, 0)] * len(tensor.shape)
        for axis, (before, after) in enumerate(pads):
            along[tensor.order[axis]] = (int(before), int(after))
        sizes = self._ints([b for b, _ in along] + [a for _, a in along])
        value = self._graph.constant(np.array(0.0 if fill is None else fill, dtype=np.float32))
        (name,) = self._graph.node("Pad", [tensor.name, sizes, value], mode="constant")
        shape = tuple(s + b + a for s, (b, a) in zip(tensor.shape, along))
        return _Tensor(name, shape, tensor.order)

    _op_padv2 = _op_pad

    def _op_conv2d(self, attr: Any, x: _Value, kernel: Constant) -> _Value:
        strides, dilations = _windows(attr, "strides"), _windows(attr, "dilations")
        tensor = self._ordered(x, _TO_NCHW)
        # TensorFlow: height, width, in, out; ONNX: out, in, height, width.
        weights = self._graph.constant(np.transpose(kernel, (3, 2, 0, 1)))
        (name,) = self._graph.node("Conv", [tensor.name, weights], strides=strides, dilations=dilations)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilations)]
        shape = (tensor.shape[0], kernel.shape[3], *_valid(tensor.shape[2:], reach, strides))
        return _Tensor(name, shape, _FROM_NCHW)

    def _op_maxpool(self, attr: Any, x: _Value) -> _Value:
        strides, size = _windows(attr, "strides"), _windows(attr, "ksize")
        tensor = self._ordered(x, _TO_NCHW)
        (name,) = self._graph.node("MaxPool", [tensor.name], kernel_shape=size, strides=strides)
        return _Tensor(name, (*tensor.shape[:2], *_valid(tensor.shape[2:], size, strides)), _FROM_NCHW)

    def _op_resizebilinear(self, attr: Any, x: _Value, size: Constant) -> _Value:
        if attr["align_corners"].get("b") or not attr["half_pixel_centers"].get("b"):
            raise ConversionError("a resize other than with half pixel centres")
        tensor = self._ordered(x, _TO_NCHW)
        shape = (*tensor.shape[:2], int(size[0]), int(size[1]))
        inputs = [tensor.name, "", "", self._ints(shape)]
        (name,) = self._graph.node("Resize", inputs, mode="linear", coordinate_transformation_mode="half_pixel")
        return _Tensor(name, shape, _FROM_NCHW)

    def _op_concatv2(self, _attr: Any, *values: _Value) -> _Value:
        *parts, axis = values
        if isinstance(axis, _Tensor):
            raise ConversionError("an axis that is computed")
        first = self._tensor(parts[0])
        same = [self._ordered(p, _inverse(first.order)) for p in parts]
        along = first.order[int(axis)]
        (name,) = self._graph.node("Concat", [t.name for t in same], axis=along)
        shape = list(first.shape)
        shape[along] = sum(t.shape[along] for t in same)
        return _Tensor(name, tuple(shape), first.order)

    def _op_splitv(self, _attr: Any, x: _Value, sizes: Constant, axis: Constant) -> list[_Value]:
        tensor = self._tensor(x)
        along = tensor.order[int(axis)]
        names = self._graph.node("Split", [tensor.name, self._ints([int(s) for s in sizes])], len(sizes), axis=along)
        shapes = [tuple(int(s) if i == along else n for i, n in enumerate(tensor.shape)) for s in sizes]
        return [_Tensor(name, shape, tensor.order) for name, shape in zip(names, shapes)]

    def _op_reshape(self, _attr: Any, x: _Value, shape: Constant) -> _Value:
        tensor = self._plain(x)
        wanted = [int(s) for s in shape]
        total = math.prod(tensor.shape)
        if -1 in wanted:
            wanted[wanted.index(-1)] = total // -math.prod(wanted)
        if math.prod(wanted) != total:
            raise ConversionError(f"a reshape of {tensor.shape} to {wanted}")
        (name,) = self._graph.node("Reshape", [tensor.name, self._ints(wanted)])
        return _Tensor(name, tuple(wanted), tuple(range(len(wanted))))

    def _op_sparsetodense(
        self, _attr: Any, where: Constant, shape: Constant, values: Constant, default: Constant
    ) -> _Value:
        dense = np.full([int(s) for s in shape], default)
        for index, value in zip(where, np.broadcast_to(values, (len(where),))):
            dense[tuple(int(i) for i in index)] = value
        return dense


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argsort(order))


def _windows(attr: Any, name: str) -> list[int]:
    """Height and width of a window attribute; the picture is NHWC and nothing is added at its edges."""
    if base64.b64decode(attr["padding"]["s"]) != b"VALID" or base64.b64decode(attr["data_format"]["s"]) != b"NHWC":
        raise ConversionError("a window other than VALID over NHWC")
    sizes = [int(i) for i in attr[name]["list"]["i"]]
    if sizes[0] != 1 or sizes[3] != 1:
        raise ConversionError(f"{name} over batch or channels")
    return sizes[1:3]


def _valid(size: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> list[int]:
    return [(n - w) // s + 1 for n, w, s in zip(size, window, stride)]
