"""What a model is made of and what it costs, known before anything is flashed."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesnn import kernels, runtime
from edgesnn.blob import Model, arena_bytes
from edgesnn.graph import (
    LIF,
    AnalogInput,
    Conv,
    DelayedSynapses,
    DelayLine,
    Dense,
    Graph,
    Integrator,
    LinearState,
    Population,
    Port,
    Potential,
    Readout,
    SoftmaxSum,
    SpikeCount,
    SumPool,
    largest_current,
    saturates,
)
from edgesnn.reference import synapses


def describe(model: Model) -> dict[str, Any]:
    """Operations, bytes and worst-case cost of a model, JSON-able.

    Keys: `flash_bytes` (the image), `weight_bytes` (of it, padding not counted), `ram_bytes` (the
    arena, exact), `step_us`, `margin` (of a decided answer, 0: none is), `input`, `populations`,
    `projections`, `readout`, `worst_step`: the
    synaptic additions, multiply-accumulates and neuron updates of a step in which every input and
    neuron spikes, and `kernels`: those of the core on this computer; populations and projections
    each have the `kernel` that the loader picks for them.
    """
    graph = model.graph
    picked = kernels.of_image(model.image)
    projections = [_projection(graph, k) for k in range(len(graph.projections))]
    for what, part in zip(projections, graph.projections, strict=True):
        what["kernel"] = picked.projections[graph.index(part.source), graph.index(part.target)]
    populations = [_population(graph, p) for p in graph.populations]
    for what, kernel in zip(populations, picked.populations, strict=True):
        what["kernel"] = kernel
    return {
        "flash_bytes": len(model.image),
        "weight_bytes": sum(p["weight_bytes"] for p in projections),
        "ram_bytes": arena_bytes(graph),
        "step_us": graph.step_us,
        "classes": list(model.classes),
        "margin": graph.margin,
        "input": {
            "name": graph.input.name,
            "kind": "analog" if isinstance(graph.input, AnalogInput) else "spikes",
            "size": graph.input.size,
            "fraction_bits": (
                [int(b) for b in graph.input.fraction_bits]
                if isinstance(graph.input, AnalogInput)
                else []
            ),
            "units": list(graph.input.units) if isinstance(graph.input, AnalogInput) else [],
        },
        "populations": populations,
        "projections": projections,
        "readout": {
            "population": graph.readout.population,
            "operation": _readout(graph.readout),
        },
        "worst_step": {
            "synops": sum(p["worst_synops"] for p in projections),
            "macs": sum(p["worst_macs"] for p in projections),
            "neuron_updates": sum(p.size for p in graph.populations),
        },
        "selftest_steps": 0 if graph.selftest is None else len(graph.selftest.frames),
        "kernels": runtime.kernels(),
        "report": model.notes.get("report"),
    }


def _readout(readout: Readout) -> str:
    if isinstance(readout, Potential):
        return f"potential, {readout.mode.name.lower()}"
    if isinstance(readout, SpikeCount):
        return "spike count"
    return "sum of softmax" if isinstance(readout, SoftmaxSum) else "first spike"


def _population(graph: Graph, part: Population) -> dict[str, Any]:
    what: dict[str, Any] = {"name": part.name, "operation": _neurons(part), "size": part.size}
    if isinstance(part, LIF):
        what["reset"] = part.reset.name.lower()
    if isinstance(part, DelayLine):
        what["longest_delay"] = int(part.delays.max())
    what["largest_current"] = largest_current(graph, part)
    what["saturates"] = saturates(graph, part)
    return what


def _neurons(part: Population) -> str:
    if not isinstance(part, LIF):
        return {Integrator: "integrator", LinearState: "linear state"}.get(type(part), "delay line")
    if part.inhibitory_decay is not None:
        name = "Alpha"
    else:
        name = "LIF" if part.synaptic_decay is None else "CuBa-LIF"
    adapts = "" if part.adaptation is None else ", adaptive threshold"
    return name + adapts + (", multi-spike" if part.max_spikes > 1 else "")


def _projection(graph: Graph, number: int) -> dict[str, Any]:
    part = graph.projections[number]
    source, target = graph.part(part.source), graph.part(part.target)
    what: dict[str, Any] = {
        "source": part.source,
        "target": part.target,
        "shift": part.shift,
        "recurrent": graph.index(part.source) >= graph.index(part.target),
    }
    if isinstance(part, Dense):
        n_out, n_in = part.weights.shape
        what |= {"operation": f"dense int{part.bits}", "shape": [n_out, n_in]}
        what |= {"blocks": part.blocks, "weights": n_out * n_in}
        worst = n_out * n_in * part.blocks
    elif isinstance(part, DelayedSynapses):
        worst = what["weights"] = len(part.weight)
        what |= {"operation": f"synapses with delays to {part.longest} steps"}
        what["shape"] = [target.size, source.size]
    else:
        weights = part.weights.size if isinstance(part, Conv) else 0
        ky, kx = part.window.kernel
        kind = "sum pool" if isinstance(part, SumPool) else "convolution"
        what |= {"operation": f"{kind} {ky}x{kx}", "weights": weights}
        what["shape"] = [*part.window.output_shape, *part.window.input_shape]
        everything = np.ones((1, source.size), np.int64)
        worst = int(synapses(part, everything)[0])
    if part.port is Port.THRESHOLD:
        what["operation"] += " to the threshold"
    if isinstance(part, Dense):
        what["weight_bytes"] = n_out * n_in * part.bits // 8
    else:
        what["weight_bytes"] = what["weights"]
    what["worst_synops"] = 0 if source.emits_values else worst
    what["worst_macs"] = worst if source.emits_values else 0
    return what


def table(description: dict[str, Any]) -> str:
    """A description for people."""
    part = description["input"]
    worst = description["worst_step"]
    lines = [
        f"flash {description['flash_bytes']:,} bytes (weights {description['weight_bytes']:,}), "
        f"RAM {description['ram_bytes']:,} bytes",
        f"worst step: {worst['synops']:,} synaptic additions, {worst['macs']:,} "
        f"multiply-accumulates, {worst['neuron_updates']:,} neuron updates",
        f"{part['name']}: {part['size']} channels, {part['kind']}"
        + (f" in {', '.join(dict.fromkeys(part['units']))}" if part["units"] else "")
        + (f", a frame every {description['step_us']} µs" if description["step_us"] else ""),
    ]
    for population in description["populations"]:
        reset = f", reset {population['reset']}" if "reset" in population else ""
        lines.append(
            f"{population['name']}: {population['size']} {population['operation']}{reset}; "
            f"{population['kernel']}"
        )
        lines += [
            f"    from {p['source']}: {_arrow(p)}"
            for p in description["projections"]
            if p["target"] == population["name"]
        ]
    readout = description["readout"]
    decided = f", decided {description['margin']:,} above all others"
    lines.append(
        f"answer: {readout['operation']} of {readout['population']}"
        f"{decided if description['margin'] else ''}"
    )
    lines.append("classes: " + ", ".join(description["classes"]))
    slow = description["kernels"] == runtime.PORTABLE
    lines.append(
        f"kernels on this computer: {description['kernels']}"
        + (", the slow path: none are made for it" if slow else "")
    )
    return "\n".join(lines)


def _arrow(projection: dict[str, Any]) -> str:
    shape = projection["shape"]
    if len(shape) == 2:
        joins = f"{shape[1]} to {shape[0]}"
    else:
        joins = "x".join(map(str, shape[3:])) + " to " + "x".join(map(str, shape[:3]))
    blocks = f" in {projection['blocks']} blocks" if projection.get("blocks", 1) > 1 else ""
    step = ", of the step before" if projection["recurrent"] else ""
    return (
        f"{projection['operation']}, {joins}{blocks}, shift {projection['shift']}{step}; "
        f"{projection['kernel']}"
    )
