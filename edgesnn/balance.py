"""A ReLU network as spiking neurons whose rates are its activations.

Diehl et al., "Fast-classifying, high-accuracy spiking deep networks through weight and threshold
balancing", IJCNN 2015; Rueckauer et al., "Conversion of continuous-valued deep networks to
efficient event-driven networks for image classification", Front. Neurosci. 2017. A neuron that
integrates its constant input and takes its threshold off the membrane with every spike has the rate
`relu(input) / threshold`, up to 1 a step and to 1 / steps. So each layer gets the threshold L that
nearly all of its activations keep below (the 99.9th percentile over recordings, of those above 0),
what leaves it is multiplied by L, and the last layer sums up what enters it. No membrane sinks
below -16 L. A picture is the same frame over and over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob, runtime
from edgesnn.errors import ModelError
from edgesnn.graph import Activation, Fire, PotentialMode, Reset
from edgesnn.network import (
    AnyProjection,
    Conversion,
    Integrator,
    Network,
    Pool,
    Population,
    ReadoutRule,
    State,
    Verdict,
)

PERCENTILE = 99.9
# what is never to spike would sink further in every step, out of every range
DEEPEST = 16
Signal = npt.NDArray[Any]


@dataclass(frozen=True)
class Balanced:
    """A spiking network, and what to hold it against.

    Attributes:
        network: of spiking neurons.
        signal: (samples, steps, channels), every frame so many times.
        labels: (samples,) int64, the ReLU network's own.
    """

    network: Network
    signal: Signal
    labels: npt.NDArray[np.int64]


def spiking(network: Network, signal: Signal, steps: int) -> Balanced:
    """Spiking neurons for a ReLU network, balanced on recordings.

    Args:
        network: of integrators without memory, with ReLU or without.
        signal: (samples, 1, channels).
        steps: how often a spiking network sees each frame.

    Raises:
        ModelError: it is no ReLU network, or the recordings are of more than one frame.
    """
    populations = [p for p in network.populations if isinstance(p, Integrator)]
    table = any(p.activation is Activation.TABLE or np.any(p.beta) for p in populations)
    if len(populations) < len(network.populations) or table or not populations:
        raise ModelError(f"{network.source} is no ReLU network: leave --spikes out")
    if signal.ndim != 3 or signal.shape[1] != 1:
        raise ModelError("a ReLU network takes frames one by one: cut recordings with --steps 1")
    last = network.readout.population
    state = State(network, len(signal))
    state.step(signal[:, 0].astype(np.float32))
    reach: dict[str, float] = {}
    for p in populations:
        if p.activation is Activation.RELU and p.name != last:
            above = state.emitted[p.name][state.emitted[p.name] > 0]
            if not above.size:
                raise ModelError(
                    f"no neuron of '{p.name}' ({p.layer}) is above 0 on these recordings: give the "
                    "frames that the network was trained on"
                )
            reach[p.name] = float(np.percentile(above, PERCENTILE))
    made = [_neurons(p, reach.get(p.name), p.name == last) for p in populations]
    projections: list[AnyProjection] = []
    for q in network.projections:
        factor = np.float32(reach.get(q.source, 1.0))
        if isinstance(q, Pool):
            projections.append(replace(q, gain=q.gain * float(factor)))
        else:
            projections.append(replace(q, weight=q.weight * factor))
    said = f"ReLU as the rate of spikes over {steps} steps, the same frame in each"
    spikes = replace(
        network,
        populations=tuple(made),
        projections=tuple(projections),
        readout=ReadoutRule(last, PotentialMode.LAST),
        remarks=(*network.remarks, said),
    )
    labels = np.argmax(state.scores, axis=1)
    return Balanced(spikes, np.repeat(signal, steps, axis=1), labels)


def measured(conversion: Conversion, balanced: Balanced) -> Conversion:
    """The conversion with its neurons as approximations, and its labels held against ReLU's."""
    steps = balanced.signal.shape[1]
    names = {p.layer for p in balanced.network.populations if isinstance(p, Population)}
    layers = tuple(
        replace(
            layer,
            verdict=Verdict.APPROXIMATED,
            reason=f"ReLU as a rate, in {steps} steps of 1/{steps} of the largest activation",
            error=max(layer.error, 1 / steps),
        )
        if layer.layer in names and "neurons" in layer.what
        else layer
        for layer in conversion.report.layers
    )
    frames = conversion.graph.input.quantize(balanced.signal)
    outputs = runtime.run(blob.pack_image(conversion.graph), frames, digests=False)
    agreement = float(np.mean(outputs.labels == balanced.labels))
    report = replace(conversion.report, layers=layers, label_agreement=agreement)
    return replace(conversion, report=report)


def _neurons(p: Integrator, reach: float | None, last: bool) -> Population | Integrator:
    if last:
        return replace(p, beta=np.float32(1), activation=Activation.IDENTITY)
    if reach is None:
        return p
    return Population(
        p.name,
        p.size,
        np.float32(1),
        np.float32(reach),
        p.bias,
        reset=Reset.SUBTRACT_AT_ONCE,
        layer=p.layer,
        fire=Fire.REACHES,
        floor=np.float32(-DEEPEST * reach),
    )
