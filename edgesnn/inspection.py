"""What a model is made of and what it costs, known before anything is flashed."""

from __future__ import annotations

from typing import Any

from edgesnn.blob import Model, arena_bytes
from edgesnn.graph import AnalogInput, CubaLIF, Graph, Potential, largest_current


def describe(model: Model) -> dict[str, Any]:
    """Operations, bytes and worst-case cost of a model, JSON-able.

    Keys: `flash_bytes` (the image), `weight_bytes` (of it, padding not counted), `ram_bytes` (the
    arena, exact), `step_us`, `input`, `populations`, `projections`, `readout`, and `worst_step`:
    the synaptic additions, multiply-accumulates and neuron updates of a step in which every input
    and neuron spikes.
    """
    graph = model.graph
    projections = [_projection(graph, k) for k in range(len(graph.projections))]
    return {
        "flash_bytes": len(model.image),
        "weight_bytes": sum(p["weights"] for p in projections),
        "ram_bytes": arena_bytes(graph),
        "step_us": graph.step_us,
        "classes": list(model.classes),
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
        "populations": [
            {
                "name": p.name,
                "operation": "CubaLIF" if isinstance(p, CubaLIF) else "LIF",
                "size": p.size,
                "reset": p.reset.name.lower(),
                "largest_current": largest_current(graph, p),
            }
            for p in graph.populations
        ],
        "projections": projections,
        "readout": {
            "population": graph.readout.population,
            "operation": (
                f"potential, {graph.readout.mode.name.lower()}"
                if isinstance(graph.readout, Potential)
                else "spike count"
            ),
        },
        "worst_step": {
            "synops": sum(p["worst_synops"] for p in projections),
            "macs": sum(p["worst_macs"] for p in projections),
            "neuron_updates": sum(p.size for p in graph.populations),
        },
        "selftest_steps": 0 if graph.selftest is None else len(graph.selftest.frames),
        "report": model.notes.get("report"),
    }


def _projection(graph: Graph, number: int) -> dict[str, Any]:
    part = graph.projections[number]
    n_out, n_in = part.weights.shape
    analog = part.source == graph.input.name and isinstance(graph.input, AnalogInput)
    worst = n_out * n_in * part.blocks
    source, target = graph.index(part.source), graph.index(part.target)
    return {
        "source": part.source,
        "target": part.target,
        "operation": "dense int8",
        "shape": [n_out, n_in],
        "blocks": part.blocks,
        "shift": part.shift,
        "recurrent": source >= target,
        "weights": n_out * n_in,
        "worst_synops": 0 if analog else worst,
        "worst_macs": worst if analog else 0,
    }


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
        lines.append(
            f"{population['name']}: {population['size']} {population['operation']}, reset "
            f"{population['reset']}, current below {population['largest_current']:,}"
        )
        for p in description["projections"]:
            if p["target"] == population["name"]:
                shape = f"{p['shape'][1]} to {p['shape'][0]}"
                blocks = f" in {p['blocks']} blocks" if p["blocks"] > 1 else ""
                step = ", of the step before" if p["recurrent"] else ""
                lines.append(
                    f"    from {p['source']}: {p['operation']}, {shape}{blocks}, "
                    f"shift {p['shift']}{step}"
                )
    readout = description["readout"]
    lines.append(f"answer: {readout['operation']} of {readout['population']}")
    lines.append("classes: " + ", ".join(description["classes"]))
    return "\n".join(lines)
