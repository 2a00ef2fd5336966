"""The demo: smartwatch recordings, streamed to a board that recognises what its wearer does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@click.command()
@click.option(
    "--board", default="virtual", show_default=True,
    help="virtual, an emulated board such as mps2-an386, a port or a URL.",
)  # fmt: skip
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("build/demo"), show_default=True,
    help="Folder for the model, report.json and report.png.",
)  # fmt: skip
@click.option("--realtime", is_flag=True, help="At the pace of the watch: 10 frames a second.")
def demo(board: str, output: Path, realtime: bool) -> None:
    """Convert a trained L2MU, stream the BasicMotions test recordings to a board, report."""
    import json

    from edgesnn import blob, reference
    from edgesnn.devices import picture
    from edgesnn.devices.backend import open_board
    from edgesnn.devices.commands import facts, first_difference
    from edgesnn.devices.recordings import basic_motions
    from edgesnn.devices.session import Stream
    from edgesnn.errors import MismatchError
    from edgesnn.quantize import quantize
    from edgesnn.sources import read_network
    from edgesnn.terminal import progress_bar
    from edgesnn.zoo.basicmotions import CHECKPOINT

    train, test = basic_motions("train"), basic_motions("test")
    with progress_bar("converting the L2MU", 2 * train.signal[..., 0].size) as advance:
        network = read_network(CHECKPOINT)
        conversion = quantize(network, train.signal, advance)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "model.esnn"
    notes = {"classes": list(test.classes), "report": conversion.report.as_json()}
    blob.save(path, conversion.graph, notes)
    model = blob.load(path)
    frames = model.graph.input.quantize(test.signal)
    with progress_bar("reference", frames[..., 0].size) as advance:
        expected = reference.run(model.graph, frames, advance)
    float_labels = network.run(test.signal).labels

    with open_board(board) as device:
        with progress_bar(f"model to {device.info.name}", len(model.image)) as advance:
            device.put_model(model, advance)
        stream = Stream(device, frames, 1 / test.rate_hz if realtime else 0.0)
        with progress_bar(f"streaming to {device.info.name}", frames[..., 0].size) as advance:
            session = stream.run(advance)

    labels = session.outputs.labels
    counts = confusion(test.label, labels, len(test.classes))
    report: dict[str, Any] = {
        "accuracy": float((labels == test.label).mean()),
        "agreement_with_reference": session.agreement(expected),
        "agreement_with_float": float((labels == float_labels).mean()),
        "float_accuracy": float((float_labels == test.label).mean()),
        **facts(session),
        "flash_bytes": len(model.image),
        "ram_bytes": model.arena_bytes,
        "synops_per_frame": float(session.outputs.synops.sum() / session.answered),
        "macs_per_frame": float(session.outputs.macs.sum() / session.answered),
        "spikes_per_frame": float(session.outputs.spikes.sum() / session.answered),
        "classes": list(test.classes),
        "confusion": counts.tolist(),
    }
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    picture.report(output / "report.png", model.graph, test, frames, session, counts)
    click.echo(as_text(report))
    click.echo(f"wrote {path}, {output / 'report.json'} and {output / 'report.png'}")
    difference = first_difference(session, expected)
    if difference is not None:
        raise MismatchError(f"board {session.board} disagrees with the reference: {difference}")


def confusion(
    truth: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], classes: int
) -> npt.NDArray[np.int64]:
    """Confusion matrix (classes, classes), row truth, column answer; no answer is no count."""
    import numpy as np

    counts = np.zeros((classes, classes), np.int64)
    answered = labels >= 0
    np.add.at(counts, (truth[answered], labels[answered]), 1)
    return counts


def as_text(report: dict[str, Any]) -> str:
    """A report for people."""
    classes: list[str] = report["classes"]
    width = max(map(len, classes))
    lines = ["", "truth".rjust(width) + "  answered  " + "  ".join(classes)]
    for name, row in zip(classes, report["confusion"], strict=True):
        cells = "  ".join(str(n).rjust(len(c)) for n, c in zip(row, classes, strict=True))
        lines.append(name.rjust(width) + "            " + cells)

    def micros(value: float | None) -> str:
        return "not measured" if value is None else f"{value:,.0f} µs"

    emulated = " (emulated: its times say nothing of a chip)" if report["emulated"] else ""
    lines += [
        "",
        f"board                     {report['board']}{emulated}",
        f"accuracy                  {report['accuracy']:.4f} "
        f"(float network {report['float_accuracy']:.4f})",
        f"agreement with reference  {report['agreement_with_reference']:.4f} "
        "of all frames, every spike and score",
        f"agreement with float      {report['agreement_with_float']:.4f} of all labels",
        f"frames                    {report['frames_sent']} sent, "
        f"{report['frames_answered']} answered, {len(report['frames_lost'])} lost",
        f"step on the board         {micros(report['step_us_mean'])} on average",
        f"round trip                {micros(report['round_trip_us_p50'])} median, "
        f"{micros(report['round_trip_us_p99'])} at p99, queueing included",
        f"memory                    flash {report['flash_bytes']:,} bytes, "
        f"RAM {report['ram_bytes']:,} bytes",
        f"work a frame              {report['synops_per_frame']:,.0f} synaptic additions, "
        f"{report['macs_per_frame']:,.0f} analog products, "
        f"{report['spikes_per_frame']:,.1f} spikes",
    ]
    return "\n".join(lines)
