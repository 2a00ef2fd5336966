"""How many bits the weights of each layer get: as asked for, or chosen by what they cost.

Dense layers may have 16, 8, 4 or 2 bits (ternary), convolutions and delayed synapses 16 or 8: the
core packs only the weights of dense layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob, runtime
from edgesnn.errors import ModelError
from edgesnn.network import (
    AnyProjection,
    Network,
    Pool,
    Recorded,
    WidthCost,
    widths,
)
from edgesnn.quantize import integers

Signal = npt.NDArray[Any]


def called(projection: AnyProjection) -> str:
    """How a layer of weights is named in `--bits NAME=4`."""
    return f"{projection.source}->{projection.target}"


def with_bits(network: Network, asked: Mapping[str, int]) -> Network:
    """The network with its weights rounded to other widths.

    Args:
        network: what a converter read.
        asked: bits by layer, which is `source->target`, the population that it enters, or the
            layer's name in the source; "" stands for all others that can have them.

    Raises:
        ModelError: no layer has that name, or it cannot have that width.
    """
    names = {
        name for p in network.projections if widths(p) for name in (called(p), p.target, p.layer)
    }
    for name in asked:
        if name and name not in names:
            there = ", ".join(called(p) for p in network.projections if widths(p))
            raise ModelError(f"there is no layer '{name}' to give {asked[name]} bits: {there}")
    made = []
    for p in network.projections:
        bits = next((asked[n] for n in (called(p), p.layer, p.target) if n in asked), None)
        if bits is None and asked.get("") in widths(p):
            bits = asked[""]
        made.append(p if bits is None or isinstance(p, Pool) else replace(p, bits=bits))
    return replace(network, projections=tuple(made))


def chosen(
    network: Network,
    calibration: Signal,
    target: float,
    progress: Callable[[int], None] = lambda frames: None,
) -> tuple[Network, tuple[WidthCost, ...]]:
    """The network with the widths that make the smallest image found which agrees enough.

    First every layer by itself at every width, all others at 8 bits, which is the table of what a
    width costs; layers whose weights are integers already stay as they are. Then, from 8 bits on,
    the layer and width that save the most bytes for the agreement they cost are taken as long as
    the whole keeps to the target; where 8 bits do not reach it, layers are widened to 16 first,
    those first that gain the most.

    Args:
        network: what a converter read.
        calibration: recordings (samples, steps, channels).
        target: share of them, 0..1, that is to have the float network's label.
        progress: called with the number of layers tried since its last call, `trials` in all.

    Raises:
        ModelError: as `edgesnn.quantize.quantize`, or no widths reach the target.
    """
    search = _Search(network, calibration)
    layers = [p for p in network.projections if _free(p)]
    rows = [replace(search.cost({}, "every layer", 8), chosen=True)]
    alone: dict[tuple[str, int], WidthCost] = {}
    for p in layers:
        for bits in widths(p):
            if bits != 8:
                row = alone[called(p), bits] = search.cost({called(p): bits}, called(p), bits)
                rows.append(row)
                progress(1)
    kept: dict[str, int] = {}
    best = rows[0]
    wider = sorted(
        (key for key in alone if key[1] == 16), key=lambda key: -alone[key].label_agreement
    )
    for name, bits in wider:
        if best.label_agreement >= target:
            break
        row = search.cost({**kept, name: bits}, name, bits)
        if row.label_agreement > best.label_agreement:
            kept[name], best = bits, replace(row, chosen=True)
            rows.append(best)
    if best.label_agreement < target:
        raise ModelError(
            f"no widths agree with the float network on {target:.2%} of these recordings: 16 bits "
            f"reach {best.label_agreement:.2%}, so that it is not the weights; ask for less"
        )

    def worth(key: tuple[str, int]) -> float:
        lost = max(0.0, rows[0].label_agreement - alone[key].label_agreement)
        return (rows[0].flash_bytes - alone[key].flash_bytes) / (lost + 1 / len(calibration))

    for name, bits in sorted((key for key in alone if key[1] < 8), key=worth, reverse=True):
        if kept.get(name, 8) <= bits:
            continue
        row = search.cost({**kept, name: bits}, name, bits)
        if row.label_agreement >= target and row.flash_bytes < best.flash_bytes:
            kept[name], best = bits, replace(row, chosen=True)
            rows.append(best)
    return with_bits(search.network, kept), tuple(rows)


def trials(network: Network) -> int:
    """How many layers and widths `chosen` tries at least."""
    return sum(len(widths(p)) - 1 for p in network.projections if _free(p))


def _free(projection: AnyProjection) -> bool:
    """Whether its weights may be rounded otherwise: not where the source has integers already."""
    return bool(widths(projection)) and getattr(projection, "grid", None) is None


class _Search:
    def __init__(self, network: Network, calibration: Signal) -> None:
        plain = tuple(
            replace(p, bits=8) if not isinstance(p, Pool) and _free(p) else p
            for p in network.projections
        )
        self.network = replace(network, projections=plain)
        self.calibration = calibration
        self.recorded: Recorded = network.run(calibration)

    def cost(self, asked: Mapping[str, int], layer: str, bits: int) -> WidthCost:
        graph = integers(with_bits(self.network, asked), self.calibration, self.recorded)
        image = blob.pack_image(graph)
        outputs = runtime.run(image, graph.input.quantize(self.calibration), digests=False)
        same = float(np.mean(outputs.labels == self.recorded.labels))
        return WidthCost(layer, bits, same, len(image))
