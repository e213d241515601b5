"""ONNX files, written.

Owns: the few messages of the ONNX format (onnx.proto, IR version 7) that a static graph of common operators
needs, in the protocol buffers wire format. Writing these by hand spares everybody a dependency of many
megabytes for one small file.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Union

import numpy as np
import numpy.typing as npt

Attribute = Union[int, float, str, Sequence[int]]

_IR_VERSION = 7
# TensorProto.DataType
_ELEMENT = {"float32": 1, "int64": 7}
_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _data(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | _BYTES) + _varint(len(raw)) + raw


def _attribute(name: str, value: Attribute) -> bytes:
    # AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20.
    out = _data(1, name)
    if isinstance(value, float):
        return out + _varint(2 << 3 | _FIXED32) + struct.pack("<f", value) + _number(20, 1)
    if isinstance(value, int):
        return out + _number(3, value) + _number(20, 2)
    if isinstance(value, str):
        return out + _data(4, value) + _number(20, 3)
    return out + b"".join(_number(8, v) for v in value) + _number(20, 7)


def _value(name: str, shape: Sequence[int]) -> bytes:
    # ValueInfoProto: name 1, type 2; TypeProto.tensor_type 1: elem_type 1, shape 2; dimensions 1: dim_value 1.
    dimensions = b"".join(_data(1, _number(1, size)) for size in shape)
    return _data(1, name) + _data(2, _data(1, _number(1, _ELEMENT["float32"]) + _data(2, dimensions)))


class Graph:
    """A graph under construction; nodes stand in the order in which they can be computed."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._tensors: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._names = 0

    def input(self, name: str, shape: Sequence[int]) -> str:
        """Declare a float32 input."""
        self._inputs.append(_value(name, shape))
        return name

    def output(self, name: str, shape: Sequence[int]) -> None:
        """Declare a float32 output; a node must make a value of that name."""
        self._outputs.append(_value(name, shape))

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        """Store a float32 or int64 tensor; its name."""
        name = self._name("c")
        # TensorProto: dims 1, data_type 2, name 8, raw_data 9 (little-endian).
        dims = b"".join(_number(1, size) for size in array.shape)
        kind = _number(2, _ELEMENT[array.dtype.name])
        raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        self._tensors.append(dims + kind + _data(8, name) + _data(9, raw))
        return name

    def node(
        self, op: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attributes: Attribute
    ) -> list[str]:
        """Append a node; `outputs` is their number, or their names. The names."""
        names = [self._name("v") for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        # NodeProto: input 1, output 2, name 3, op_type 4, attribute 5.
        body = b"".join(_data(1, i) for i in inputs) + b"".join(_data(2, o) for o in names)
        body += _data(3, f"n{len(self._nodes)}") + _data(4, op)
        body += b"".join(_data(5, _attribute(k, v)) for k, v in sorted(attributes.items()))
        self._nodes.append(body)
        return names

    def serialize(self, opset: int, producer: str) -> bytes:
        """The file. ModelProto: ir_version 1, producer 2, graph 7, opset_import 8; GraphProto: 1, 2, 5, 11, 12."""
        graph = b"".join(_data(1, n) for n in self._nodes) + _data(2, "graph")
        graph += b"".join(_data(5, t) for t in self._tensors)
        graph += b"".join(_data(11, i) for i in self._inputs) + b"".join(_data(12, o) for o in self._outputs)
        opsets = _data(1, "") + _number(2, opset)
        return _number(1, _IR_VERSION) + _data(2, producer) + _data(7, graph) + _data(8, opsets)

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"
