"""Pictures of an evolution (needs matplotlib, extra `demo`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesnn import blob, reference
from edgesnn.blimp import judge
from edgesnn.blimp import task as tasks
from edgesnn.blimp.controllers import COMMAND_ONE
from edgesnn.blimp.course import OFFSET, Done, Ground
from edgesnn.blimp.task import D, I, P, Role
from edgesnn.errors import MissingError
from edgesnn.graph import LIF, DelayedSynapses, Dense, Graph

INK = "#1f2933"
NETWORK, OTHER, THIRD = "#2563eb", "#ea580c", "#059669"


def ready() -> None:
    """Raises MissingError where matplotlib is not installed: before anything long is begun."""
    _pyplot()


def _pyplot() -> Any:
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingError(
            "matplotlib, which draws the report, is not installed: pip install 'edgesnn[demo]'"
        ) from None
    return pyplot


def report(path: Path, controller: str, done: list[Done], over: Ground, graph: Graph) -> None:
    """Fitness, target against output, step responses beside a PID, spikes, weights: one PNG."""
    pyplot = _pyplot()
    pyplot.rcParams.update({"font.size": 9, "axes.edgecolor": INK, "text.color": INK})
    figure, axes = pyplot.subplots(3, 2, figsize=(14, 11), layout="constrained")
    image = blob.pack_image(graph)
    _fitness(axes[0, 0], done)
    _mimicry(axes[0, 1], controller, image, over)
    _steps(axes[1, 0], controller, image, over)
    _commands(axes[1, 1], controller, image, over)
    _spikes(axes[2, 0], controller, graph, over)
    _weights(axes[2, 1], graph)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _fitness(axes: Any, done: list[Done]) -> None:
    at = 0
    for k, d in enumerate(done):
        number = np.array([line.number for line in d.log]) * d.recipe.candidates + at
        axes.plot(number, [line.loss for line in d.log], color=NETWORK, lw=0.5, alpha=0.5,
                  label="best candidate, training windows" if k == 0 else None)  # fmt: skip
        axes.plot(number, [line.validation for line in d.log], color=OTHER, lw=1.4,
                  label="mean, validation windows" if k == 0 else None)  # fmt: skip
        top = max(line.loss for line in d.log)
        axes.text(at, top, f" {d.phase.name}", va="bottom", fontsize=8)
        at = int(number[-1])
        axes.axvline(at, color="#9aa5b1", lw=0.8)
    axes.set(title="loss", xlabel="evaluations of candidates", ylabel="loss (of its phase)")
    axes.legend(loc="upper right")


def _mimicry(axes: Any, controller: str, image: bytes, over: Ground) -> None:
    if controller == "pd":
        flown = tasks.fly(image, over.tests()[0], over.track, Role.TEST, 0)
        target, name = flown.columns["target"], "PD, held-out recorded flight"
    else:
        helper = P | D if controller == "i" else 0
        task = judge.script(over, judge.STEPS[:2], OFFSET, helper)
        flown = tasks.fly(image, task, over.track, Role.TEST, 0)
        terms = ("i",) if controller == "i" else ("p", "d", "i")
        target = np.clip(sum(flown.columns[t] for t in terms), -tasks.LIMIT, tasks.LIMIT)
        name = "same error, as it flies the modelled blimp"
    shown = slice(0, 600)
    output = np.clip(flown.columns["network"], -tasks.LIMIT, tasks.LIMIT)
    axes.plot(flown.seconds[shown], target[shown] / COMMAND_ONE, color=OTHER, lw=1,
              label={"pd": "PD", "i": "I", "full": "PID"}[controller])  # fmt: skip
    axes.plot(flown.seconds[shown], output[shown] / COMMAND_ONE, color=NETWORK, lw=1,
              label="network")  # fmt: skip
    axes.set(title=f"target and output: {name}", xlabel="s", ylabel="command (±10)")
    axes.legend(loc="upper right")


def _flights(controller: str, image: bytes, over: Ground) -> list[tuple[str, str, tasks.Flown]]:
    steps = judge.FULL_STEPS if controller == "full" else judge.STEPS
    buoyancy = 0 if controller == "pd" else OFFSET
    with_network = P | D if controller == "i" else 0
    rival = P | D if controller == "pd" else P | D | I
    flown = []
    for name, color, what, helper in (
        ("network" + (" as I, with PD" if controller == "i" else ""), NETWORK, image, with_network),
        ("PD" if controller == "pd" else "PID", OTHER, None, rival),
    ):
        task = judge.script(over, steps, buoyancy, helper)
        flown.append((name, color, tasks.fly(what, task, over.track, Role.TEST, 0)))
    return flown


def _steps(axes: Any, controller: str, image: bytes, over: Ground) -> None:
    for name, color, flown in _flights(controller, image, over):
        axes.plot(flown.seconds, flown.columns["altitude"] / 100, color=color, lw=1.2, label=name)
        reference_line = flown.columns["reference"] / 100
    axes.plot(flown.seconds, reference_line, color=INK, lw=0.8, ls="--", label="set-point")
    kind = "neutral" if controller == "pd" else "buoyancy −0.07 m/s²"
    axes.set(title=f"steps of the modelled blimp, {kind}", xlabel="s", ylabel="altitude (m)")
    axes.legend(loc="upper right")


def _commands(axes: Any, controller: str, image: bytes, over: Ground) -> None:
    for name, color, flown in _flights(controller, image, over):
        terms = ("p", "d") if controller == "pd" else ("p", "d", "i")
        if "network" in name:
            command: Any = flown.columns["network"].astype(float)
            if controller == "i":
                command = command + flown.columns["p"] + flown.columns["d"]
        else:
            command = sum(flown.columns[t].astype(float) for t in terms)
        shown = slice(650, 1000)
        command = np.clip(command, -tasks.LIMIT, tasks.LIMIT) / COMMAND_ONE
        axes.plot(flown.seconds[shown], command[shown], color=color, lw=0.9, label=name)
    axes.set(title="commands around the first step", xlabel="s", ylabel="command (±10)")
    axes.legend(loc="upper right")


def _spikes(axes: Any, controller: str, graph: Graph, over: Ground) -> None:
    flown = _flights(controller, blob.pack_image(graph), over)[0][2]
    shown = slice(680, 850)
    error = flown.columns["error"].astype(np.int16)
    parts = [p for p in graph.populations if isinstance(p, LIF)]
    offset = 0
    states = list(_states(graph, error[: shown.stop]))
    for k, part in enumerate(parts):
        raster = np.array([s[part.name] for s in states])[shown]
        ticks, neurons = np.nonzero(raster)
        axes.scatter(flown.seconds[shown][ticks], neurons + offset, s=2,
                     color=(NETWORK, OTHER, THIRD, "#9333ea")[k % 4], lw=0)  # fmt: skip
        rate = raster.sum(axis=1).mean()
        axes.text(1.005, offset + part.size / 2, f"{part.name}\n{rate:.1f}/step", fontsize=7,
                  transform=axes.get_yaxis_transform(), va="center")  # fmt: skip
        offset += part.size
    axes.set(title="spikes around the first step", xlabel="s", ylabel="neuron")


def _states(graph: Graph, error: Any) -> Any:
    for state in reference.steps(graph, error[np.newaxis, :, np.newaxis]):
        yield {name: emitted[0] != 0 for name, emitted in state.emitted.items()}


def _weights(axes: Any, graph: Graph) -> None:
    rows, names = [], []
    for part in graph.projections:
        if isinstance(part, Dense):
            values = part.weights.ravel()
        elif isinstance(part, DelayedSynapses) and len(part.weight) > 40:
            values = part.weight
        else:
            continue
        if values.size < 20:
            continue
        # a long list in rows of 40
        for at in range(0, values.size, 40):
            rows.append(values[at : at + 40].astype(float))
            names.append(f"{part.source} → {part.target}" if at == 0 else "")
    picture = axes.imshow(np.array(rows), aspect="auto", cmap="RdBu_r", vmin=-127, vmax=127)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(title="weights, int8", xlabel="neuron, or synapse of 2 x 2 blocks")
    axes.figure.colorbar(picture, ax=axes, fraction=0.03)
