"""Maps of frameworks, (channel, height, width), as those of the graph, (height, width, channel).

A shape here is a framework's own: (n), (channels, length) or (channels, height, width).
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ModelError
from edgesnn.graph import Window

Shape = tuple[int, ...]
Scalar = TypeVar("Scalar", bound=np.generic)
Pair = tuple[int, int]


def graph_map(shape: Shape) -> tuple[int, int, int]:
    """(height, width, channels) of a shape; what is no map has one place, its neurons channels."""
    if len(shape) == 1:
        return 1, 1, shape[0]
    if len(shape) == 2:
        return 1, shape[1], shape[0]
    return shape[1], shape[2], shape[0]


def reordered(values: npt.NDArray[Scalar], shape: Shape) -> npt.NDArray[Scalar]:
    """Values whose last axis runs over a framework's map, run over the graph's instead."""
    height, width, channels = graph_map(shape)
    split = values.reshape(*values.shape[:-1], channels, height, width)
    moved: npt.NDArray[Scalar] = np.moveaxis(split, -3, -1)
    return moved.reshape(*values.shape[:-1], -1)


def restored(values: npt.NDArray[Scalar], shape: Shape) -> npt.NDArray[Scalar]:
    """The inverse of `reordered`."""
    height, width, channels = graph_map(shape)
    split = values.reshape(*values.shape[:-1], height, width, channels)
    moved: npt.NDArray[Scalar] = np.moveaxis(split, -1, -3)
    return moved.reshape(*values.shape[:-1], -1)


def spread(values: npt.NDArray[Scalar], shape: Shape) -> npt.NDArray[Scalar]:
    """One value for all or for each channel, as one for each neuron of the graph's map."""
    height, width, channels = graph_map(shape)
    return np.tile(np.broadcast_to(values, (channels,)), height * width)


def kernel(weight: npt.NDArray[Scalar], dilation: Pair = (1, 1)) -> npt.NDArray[Scalar]:
    """A kernel (out, in, height, width) as (height, width, in, out), dilation's zeros put in."""
    out, into, tall, wide = weight.shape
    size = ((tall - 1) * dilation[0] + 1, (wide - 1) * dilation[1] + 1)
    placed: npt.NDArray[Scalar] = np.zeros((out, into, *size), weight.dtype)
    placed[:, :, :: dilation[0], :: dilation[1]] = weight
    turned: npt.NDArray[Scalar] = placed.transpose(2, 3, 1, 0)
    return turned


def sliding(
    what: str, source: Shape, channels: int, size: Pair, stride: Pair, padding: Pair | str
) -> tuple[Window, Shape]:
    """The window of a convolution or pooling over a map, and the shape of what it makes.

    Args:
        what: the layer, for errors.
        source: shape of the map.
        channels: of what it makes.
        size: (height, width) of the kernel, dilation included.
        stride: (vertical, horizontal).
        padding: (vertical, horizontal) on either side, or "same" or "valid" as in PyTorch.

    Raises:
        ModelError: the kernel does not fit the map, or the padding the kernel.
    """
    if len(source) < 2:
        raise ModelError(
            f"{what} slides over {source}, which is no map: say the shape of the input"
        )
    height, width, into = graph_map(source)
    if padding == "valid":
        padding = (0, 0)
    if isinstance(padding, str):
        if padding != "same" or stride != (1, 1):
            raise ModelError(f"{what} has padding '{padding}' with stride {stride}: not supported")
        before = ((size[0] - 1) // 2, (size[1] - 1) // 2)
        out = (height, width)
    else:
        before = padding
        out = (
            (height + 2 * padding[0] - size[0]) // stride[0] + 1,
            (width + 2 * padding[1] - size[1]) // stride[1] + 1,
        )
    if min(out) < 1 or min(stride) < 1:
        raise ModelError(f"{what} has a kernel of {size} that does not fit its map {source}")
    if any(p >= k for p, k in zip(before, size, strict=True)):
        raise ModelError(f"{what} pads by {before}, more than its kernel of {size}: not supported")
    made = (channels, *out) if len(source) == 3 else (channels, out[1])
    return Window((height, width, into), (*out, channels), size, stride, before), made


def pair(what: str, value: Any, default: int | None = None) -> Pair:
    """One number for both directions, or two, as (vertical, horizontal).

    Raises:
        ModelError: it is neither.
    """
    values = np.asarray(default if value is None else value)
    if values.size not in (1, 2) or values.dtype.kind not in "iu":
        raise ModelError(f"{what} is {value!r}, not one whole number or two")
    first, last = values.reshape(-1)[0], values.reshape(-1)[-1]
    return int(first), int(last)


def size_of(shape: Shape) -> int:
    """Neurons."""
    return math.prod(shape)
