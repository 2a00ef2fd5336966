"""All that a graph can be made of, by name, so that tests can say that they show all of it.

`PARTS` and `EVERYTHING` follow from the classes and enumerations of `edgesnn.graph`: what is added
there and nowhere shown fails the tests that compare with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np

from edgesnn import blob, graph
from edgesnn.graph import (
    LIF,
    Activation,
    Conduction,
    Conv,
    DecayRule,
    DelayLine,
    Dense,
    Fire,
    FirstSpike,
    Graph,
    Integrator,
    LinearState,
    Port,
    Potential,
    PotentialMode,
    Projection,
    Reset,
    SpikeCount,
    SumPool,
    saturates,
)

# arrays that hold an entry a neuron, or one for all
OF_NEURONS = ("decay", "synaptic_decay", "inhibitory_decay", "floor", "reset_to")
OF_ADAPTATION = ("decay", "step", "refractory")
OPTIONAL = (
    "bias", "synaptic_decay", "inhibitory_decay", "floor", "reset_to", "membrane_bias", "adaptation"
)  # fmt: skip
BY_FUSED_UPDATE = [r for r in Reset if r is not Reset.SUBTRACT_RESIDUE]
OF_ALPHA = [Reset.NONE, Reset.SUBTRACT, Reset.ZERO_DISCARD]
OF_SEVERAL = [Reset.SUBTRACT_AT_ONCE, Reset.ZERO_AT_ONCE]
WIDTHS = (8, 4, 2)


def _names(*classes: Any) -> set[str]:
    return {c.__name__ for union in classes for c in get_args(union)}


# each by itself ...
PARTS = {
    *_names(graph.Input, graph.Population, graph.Projection, graph.Readout),
    "plain neurons", "neurons",
    *(f"neurons, {x.name}" for values in (Reset, Fire, DecayRule, Conduction) for x in values),
    *(f"neurons, {what}" for what in ("Alpha", "several spikes", "wide states", "narrow states")),
    *(f"neurons, adapting, {how}" for how in ("new", "old", "refractory")),
    *(f"neurons, {n}: {how}" for n in OF_NEURONS for how in ("shared", "each")),
    *(f"adaptation, {n}: {how}" for n in OF_ADAPTATION for how in ("shared", "each")),
    *(f"neurons, {n}: {how}" for n in OPTIONAL for how in ("there", "left out")),
    *(f"Integrator, {a.name}" for a in Activation),
    *(f"Integrator, decay: {how}" for how in ("shared", "each")),
    "Integrator, changes",
    *(f"Integrator, requantised {how}" for how in ("once", "twice")),
    *(f"LinearState, {blocks}" for blocks in ("one block", "blocks")),
    *(f"DelayLine, source {where}" for where in ("before", "after")),
    *(f"Dense, {bits} bits, {what}" for bits in WIDTHS for what in ("spikes", "values")),
    *(f"Dense, {what}" for what in ("blocks", "merged", "saturating")),
    *(f"Dense, {port.name}" for port in Port),
    *(f"{kind}, {what}" for kind in ("Conv", "SumPool") for what in ("spikes", "values")),
    *(f"Conv, {groups}" for groups in ("one group", "groups", "depthwise")),
    *(f"{kind}, {how}" for kind in ("Conv", "SumPool") for how in ("padding", "stride", "2-D")),
    *(f"DelayedSynapses, {what}" for what in ("spikes", "values", "taps", "at once")),
    *(f"DelayedSynapses, targets of {bits} bits" for bits in (8, 16)),
    *(f"Projection, {where}" for where in ("forward", "back", "to itself")),
    *(f"Potential, {mode.name}" for mode in PotentialMode),
    *(f"{kind} of several" for kind in ("SpikeCount", "FirstSpike")),
    "more than a tile", "more than a word of neurons to look back on",
}  # fmt: skip

# ... and what the core has code of its own for, or what is easily forgotten, where two meet
EVERYTHING = {
    *PARTS,
    *(f"plain neurons, {r.name}, {f.name}" for r in BY_FUSED_UPDATE for f in Fire),
    *(f"neurons, {r.name}, {f.name}" for r in Reset for f in Fire),
    *(f"neurons, {rule.name}, {c.name}" for rule in DecayRule for c in Conduction),
    *(f"neurons, Alpha, {r.name}" for r in OF_ALPHA),
    *(f"neurons, several spikes, {r.name}" for r in OF_SEVERAL),
    *(f"neurons, adapting, {r.name}" for r in BY_FUSED_UPDATE),
    *(f"neurons, adapting, {rule.name}" for rule in DecayRule),
    *(
        f"Dense, {bits} bits, {what}"
        for bits in WIDTHS
        for what in (
            "spikes, blocks", "spikes, merged", "spikes, saturating",
            "values, blocks", "values, saturating",
        )
    ),
    *(f"Dense, {port.name}, {what}" for port in Port for what in ("spikes", "values")),
}  # fmt: skip


def used(model: Graph) -> set[str]:
    """What of `EVERYTHING` a graph uses."""
    parts = (model.input, *model.populations, *model.projections, model.readout)
    found = {type(part).__name__ for part in parts}
    for population in model.populations:
        found |= set(_of_population(model, population))
    for projection in model.projections:
        found |= set(_of_projection(model, projection))
    for group in blob._groups(model):
        if len(group) > 1:
            found |= {"Dense, merged", f"Dense, {group[0].bits} bits, spikes, merged"}
    if isinstance(model.readout, Potential):
        found.add(f"Potential, {model.readout.mode.name}")
    if isinstance(model.readout, (SpikeCount, FirstSpike)):
        population = model.part(model.readout.population)
        if population.emits_values:
            found.add(f"{type(model.readout).__name__} of several")
    return found & EVERYTHING


def _each(array: Any, size: int) -> Iterator[str]:
    """Of how many entries an array is; of one neuron nobody can tell."""
    if array is not None and size > 1:
        yield "each" if len(array) > 1 else "shared"


def _of_population(model: Graph, p: graph.Population) -> Iterator[str]:
    if isinstance(p, LIF):
        yield from _of_neurons(p)
    elif isinstance(p, Integrator):
        yield f"Integrator, {p.activation.name}"
        yield from (f"Integrator, decay: {how}" for how in _each(p.decay, p.size))
        if p.delta is not None:
            yield "Integrator, changes"
        if p.requantization is not None:
            yield f"Integrator, requantised {'once' if p.requantization.once else 'twice'}"
    elif isinstance(p, LinearState):
        yield f"LinearState, {'blocks' if p.blocks > 1 else 'one block'}"
    elif isinstance(p, DelayLine):
        before = model.index(p.source) < model.index(p.name)
        yield f"DelayLine, source {'before' if before else 'after'}"


def _of_neurons(p: LIF) -> Iterator[str]:
    if p.plain:
        yield "plain neurons"
        yield f"plain neurons, {p.reset.name}, {p.fire.name}"
        return
    yield "neurons"
    yield from (f"neurons, {value.name}" for value in (p.reset, p.fire, p.rule, p.conduction))
    yield f"neurons, {p.reset.name}, {p.fire.name}"
    if p.synaptic_decay is not None and p.inhibitory_decay is None:
        yield f"neurons, {p.rule.name}, {p.conduction.name}"
    if p.inhibitory_decay is not None:
        yield "neurons, Alpha"
        yield f"neurons, Alpha, {p.reset.name}"
    if p.max_spikes > 1:
        yield "neurons, several spikes"
        yield f"neurons, several spikes, {p.reset.name}"
    for name in OF_NEURONS:
        yield from (f"neurons, {name}: {how}" for how in _each(getattr(p, name), p.size))
    for name in OPTIONAL:
        array = getattr(p, name)
        there = np.any(array) if name == "bias" else array is not None
        yield f"neurons, {name}: {'there' if there else 'left out'}"
    yield f"neurons, {'wide' if p.state_bits > 30 else 'narrow'} states"
    if p.adaptation is not None:
        how = "old" if p.adaptation.old else "new"
        how = how if p.adaptation.refractory is None else "refractory"
        yield from (f"neurons, adapting, {x}" for x in (how, p.reset.name, p.rule.name))
        for name in OF_ADAPTATION:
            array = getattr(p.adaptation, name)
            yield from (f"adaptation, {name}: {how}" for how in _each(array, p.size))


def _of_projection(model: Graph, q: Projection) -> Iterator[str]:
    source, target = model.index(q.source), model.index(q.target)
    what = "values" if model.part(q.source).emits_values else "spikes"
    kind = type(q).__name__
    where = "forward" if source < target else "back" if source > target else "to itself"
    yield f"Projection, {where}"
    yield f"{kind}, {what}"
    if isinstance(q, Dense):
        width = f"Dense, {q.bits} bits, {what}"
        yield from (width, f"Dense, {q.port.name}", f"Dense, {q.port.name}, {what}")
        if q.blocks > 1:
            yield from ("Dense, blocks", f"{width}, blocks")
        if q.port is Port.CURRENT and saturates(model, model.populations[target - 1]):
            yield from ("Dense, saturating", f"{width}, saturating")
        if len(q.weights) > 128 // q.bits:
            yield "more than a tile"
    elif isinstance(q, (Conv, SumPool)):
        if isinstance(q, Conv):
            depthwise = q.groups > 1 and q.groups == q.window.input_shape[2]
            groups = "depthwise" if depthwise else "groups" if q.groups > 1 else "one group"
            yield f"Conv, {groups}"
        if any(q.window.padding):
            yield f"{kind}, padding"
        if max(q.window.stride) > 1:
            yield f"{kind}, stride"
        if min(q.window.kernel) > 1:
            yield f"{kind}, 2-D"
    else:
        joined = q.pre.astype(np.int64) << 16 | q.post
        if len(np.unique(joined)) < len(joined):
            yield "DelayedSynapses, taps"
        if q.longest == 0:
            yield "DelayedSynapses, at once"
        yield f"DelayedSynapses, targets of {8 if model.size(q.target) <= 256 else 16} bits"
        if model.size(q.source) > 32:
            yield "more than a word of neurons to look back on"
