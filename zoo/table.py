"""Judge every committed network as integers and print the table: `python -m edgesnn.zoo.table`.

Writes build/zoo.json and the models beside it, compares what each row got right with
zoo/figures.json, to the last recording, and with --accept makes what it found the figures and the
table of docs/zoo.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgesnn import blob, runtime
from edgesnn.early import with_margin
from edgesnn.errors import EdgesnnError, MissingError
from edgesnn.graph import Conv, DelayedSynapses, Dense, Graph, SumPool
from edgesnn.quantize import quantize
from edgesnn.sources import Options, read_network
from edgesnn.terminal import progress_bar
from edgesnn.zoo.entries import ENTRIES, Entry

FIGURES = Path(__file__).with_name("figures.json")
BUILD, DOCS = Path("build"), Path("docs/zoo.md")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
COUNTED = ("m0", "m4", "m55")
FLOAT_BATCH = 250

CYCLES_PER_INSTRUCTION = 1.5
"""Of a Cortex-M4 without wait states: its load takes 2, its taken branch 3, its data operations 1.
MLPerf Tiny's autoencoder took 1.15 (NUCLEO-L4R5ZI, v1.2) by instructions counted here for the same
layers of CMSIS-NN, so 1.5 is on the safe side."""
EARLY_LOSS = 0.002
"""Share of the training recordings that an early answer may get wrong beyond those at the end."""
BOARDS = {"NUCLEO-L4R5ZI": (120e6, 322e-12), "NUCLEO-U575ZI-Q": (160e6, 149e-12)}
"""Hz, and joules a cycle: MLPerf Tiny v1.2, energy of its autoencoder over its cycles."""


def judge(entry: Entry, folder: Path, count: bool) -> dict[str, Any]:
    """The row of a network.

    Raises:
        MissingError: its recordings, or its weights, are not here.
    """
    judged = entry.load()
    network = read_network(entry.checkpoint, entry.source, Options(None, entry.description))
    conversion = quantize(network, judged.calibration)
    if judged.early is not None:
        signals, label = judged.early
        chosen_on = conversion.graph.input.quantize(signals)
        graph, _ = with_margin(conversion.graph, chosen_on, label, EARLY_LOSS)
        conversion = replace(conversion, graph=graph)
    path = folder / f"{entry.name}.esnn"
    notes = {"classes": list(network.classes), "report": conversion.report.as_json()}
    blob.save(path, conversion.graph, notes)
    model = blob.load(path)
    frames = model.graph.input.quantize(judged.signals)
    with progress_bar(entry.name, len(frames)) as advance:
        floats = []
        for first in range(0, len(frames), FLOAT_BATCH):
            part = judged.signals[first : first + FLOAT_BATCH]
            floats.append(network.run(part).labels)
            advance(len(part))
    outputs = runtime.run(model.image, frames, digests=False)
    labels, as_float = outputs.labels, np.concatenate(floats)
    early = outputs.early_labels == judged.label
    return {
        "name": entry.name,
        "task": entry.task,
        "protocol": entry.protocol,
        "samples": len(labels),
        "correct": int(np.sum(labels == judged.label)),
        "float_accuracy": float(np.mean(as_float == judged.label)),
        "accuracy": float(np.mean(labels == judged.label)),
        "agreement": float(np.mean(labels == as_float)),
        "parameters": _parameters(model.graph),
        "flash_bytes": len(model.image),
        "ram_bytes": model.arena_bytes,
        "synops": float(outputs.synops.mean()),
        "macs": float(outputs.macs.mean()),
        "dense_macs": frames.shape[1] * _dense_macs(model.graph),
        "early": {}
        if model.graph.margin == 0
        else {
            "correct": int(early.sum()),
            "accuracy": float(early.mean()),
            "steps": outputs.early_steps,
        },
        "instructions": _instructions(model, frames[0], folder.resolve()) if count else {},
        "model": str(path),
    }


def _parameters(graph: Graph) -> int:
    """Weights; thresholds, decays and biases of neurons are not among them."""
    return sum(0 if isinstance(p, SumPool) else _weights(p).size for p in graph.projections)


def _weights(projection: Dense | Conv | DelayedSynapses) -> NDArray[np.int8]:
    return projection.weight if isinstance(projection, DelayedSynapses) else projection.weights


def _dense_macs(graph: Graph) -> int:
    """Products in a step of a network of the same layers whose every value is a number."""
    total = 0
    for p in graph.projections:
        if isinstance(p, Dense):
            total += p.weights.size * p.blocks
        elif isinstance(p, Conv):
            height, width, _ = p.window.output_shape
            total += p.weights.size * height * width
        elif isinstance(p, DelayedSynapses):
            total += p.weight.size
    return total


def _instructions(model: blob.Model, frames: NDArray[np.int16], folder: Path) -> dict[str, int]:
    """Instructions of one recording by core, counted under emulation where there are the tools."""
    from firmware.cores import CORES, ToolError
    from firmware.count import count

    found = {}
    for core in COUNTED:
        if not count.available(CORES[core]):
            click.echo(f"{core} is not counted: its compiler or emulator is missing", err=True)
            continue
        if model.arena_bytes > count.RAM_BYTES.get(core, model.arena_bytes):
            continue
        try:
            elf = count.build_model(core, folder / core, model.image, frames, model.arena_bytes)
            found[core] = sum(count.run(core, elf, count.build_plugin(folder))[1]["step"])
        except ToolError as error:
            click.echo(f"{core} is not counted: {error}", err=True)
    return found


def modelled(instructions: int) -> dict[str, tuple[float, float]]:
    """Milliseconds and microjoules of so many instructions on each board of `BOARDS`; modelled."""
    cycles = instructions * CYCLES_PER_INSTRUCTION
    return {name: (1e3 * cycles / hz, 1e6 * cycles * joules)
            for name, (hz, joules) in BOARDS.items()}  # fmt: skip


def merged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table: folds of one protocol in one, by the number of their recordings."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["protocol"]), []).append(row)
    made = []
    for group in groups.values():
        weight = np.array([row["samples"] for row in group])
        mean = {key: float(np.average([row[key] for row in group], weights=weight))
                for key in ("float_accuracy", "accuracy", "agreement", "synops")}  # fmt: skip
        early = {key: float(np.average([row["early"][key] for row in group], weights=weight))
                 for key in ("accuracy", "steps") if group[0]["early"]}  # fmt: skip
        made.append({**group[0], **mean, "early": early, "samples": int(weight.sum())})
    return made


def as_markdown(rows: Sequence[dict[str, Any]], baselines: dict[str, Any]) -> str:
    """The table of docs/zoo.md."""
    lines = [
        "| task | split | float | integer | same label | ordinary network | flash, RAM bytes |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in merged(rows):
        beside = baselines.get(row["name"].split("-")[0], {}).get(row["protocol"], "")
        lines.append(
            f"| {row['task']} | {row['protocol']} | {row['float_accuracy']:.2%} | "
            f"**{row['accuracy']:.2%}** | {row['agreement']:.2%} | {beside} | "
            f"{row['flash_bytes']:,}, {row['ram_bytes']:,} |"
        )
    lines += [
        "",
        "| task | split | weights | synaptic additions | dense products | M0 | M4 | M55 | "
        + " | ".join(f"{name}, modelled" for name in BOARDS) + " |",
        "|---|---|---|---|---|---|---|---|" + "---|" * len(BOARDS),
    ]  # fmt: skip
    for row in merged(rows):
        counted = [f"{row['instructions'][c]:,}" if c in row["instructions"] else "–"
                   for c in COUNTED]  # fmt: skip
        costs = ["–"] * len(BOARDS)
        if "m4" in row["instructions"]:
            of = modelled(row["instructions"]["m4"])
            costs = [f"{ms:.1f} ms, {uj:,.0f} µJ" for ms, uj in of.values()]
        lines.append(
            f"| {row['task']} | {row['protocol']} | {row['parameters']:,} | {row['synops']:,.0f} | "
            f"{row['dense_macs']:,} | " + " | ".join(counted + costs) + " |"
        )
    lines += [
        "",
        "| task | split | at the end | early | steps run |",
        "|---|---|---|---|---|",
    ]
    for row in merged(rows):
        if row["early"]:
            lines.append(
                f"| {row['task']} | {row['protocol']} | {row['accuracy']:.2%} | "
                f"**{row['early']['accuracy']:.2%}** | {row['early']['steps']:.1%} |"
            )
    return "\n".join(lines)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--accept", is_flag=True, help="Make what is found the figures and the docs' table.")
@click.option("--count/--no-count", default=True, help="Count instructions under emulation.")
def main(names: tuple[str, ...], accept: bool, count: bool) -> None:
    """Judge every committed network, or those NAMES, and print their table."""
    folder = BUILD / "zoo"
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {"rows": {}, "baselines": {}}
    rows, missing, moved = [], set(), []
    for entry in ENTRIES:
        if names and not any(entry.name.startswith(name) for name in names):
            continue
        try:
            row = judge(entry, folder, count and "-10s" not in entry.name)
        except MissingError as error:
            missing.add(str(error))
            continue
        except EdgesnnError as error:
            raise click.ClickException(str(error)) from error
        rows.append(row)
        figures = {key: row[key] for key in ("correct", "samples")}
        if row["early"]:
            figures["early"] = row["early"]["correct"]
        if accept:
            known["rows"][entry.name] = figures
        elif known["rows"].get(entry.name) != figures:
            moved.append(f"{entry.name}: {figures}, not {known['rows'].get(entry.name)}")
    (BUILD / "zoo.json").write_text(json.dumps(rows, indent=1) + "\n")
    text = as_markdown(rows, known["baselines"])
    click.echo(text)
    for line in sorted(missing):
        click.echo(f"left out: {line}", err=True)
    if accept:
        FIGURES.write_text(json.dumps(known, indent=1) + "\n")
        if DOCS.exists() and not names:
            before, _, rest = DOCS.read_text().partition(BEGIN)
            DOCS.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    for line in moved:
        click.echo(f"not as in figures.json: {line}", err=True)
    sys.exit(1 if moved else 0)


if __name__ == "__main__":
    main()
