"""Commands that need a board: `stream` and `verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgesnn.devices.session import Session
    from edgesnn.reference import Outputs

PATH = click.Path(path_type=Path)
BOARD = click.option(
    "--board", "--port", "board", default="virtual", show_default=True,
    help="virtual, an emulated board such as mps2-an386, a port such as /dev/ttyACM0, or a URL.",
)  # fmt: skip
INPUT = click.option(
    "--input", "recordings", type=PATH, required=True,
    help="Recordings (samples, steps, channels) in the sensor's physical units, or spikes; .npy.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


@click.command()
@click.argument("model", type=PATH)
@INPUT
@BOARD
@click.option("--realtime", is_flag=True, help="At the pace of the sensor, not of the board.")
@click.option("--rate", type=float, help="Frames a second; default: what the model says.")
@JSON
def stream(
    model: Path, recordings: Path, board: str, realtime: bool, rate: float | None, as_json: bool
) -> None:
    """Stream recordings to a board and print what it recognises, and every frame's fate."""
    from edgesnn.errors import DeviceError, ModelError

    period = 0.0
    loaded, frames = _load(model, recordings)
    if realtime:
        if not rate and not loaded.graph.step_us:
            raise ModelError(f"{model} does not say how often a frame comes: give it with --rate")
        period = 1 / rate if rate else loaded.graph.step_us / 1e6
    session = _stream(board, loaded, frames, period)
    for sample, label in enumerate(session.outputs.labels):
        if not as_json:
            name = loaded.classes[label] if label >= 0 else "no answer"
            click.echo(f"recording {sample}: {name}")
    _print(facts(session), as_json)
    if session.lost:
        sample, step = session.lost[0]
        raise DeviceError(
            f"{len(session.lost)} frames were lost, the first is step {step} of recording "
            f"{sample}: check the link"
        )


@click.command()
@click.argument("model", type=PATH)
@INPUT
@BOARD
@JSON
def verify(model: Path, recordings: Path, board: str, as_json: bool) -> None:
    """Prove that a board computes what the reference computes, bit for bit, or exit with 1."""
    from edgesnn import reference
    from edgesnn.errors import MismatchError
    from edgesnn.terminal import progress_bar

    loaded, frames = _load(model, recordings)
    with progress_bar("reference", frames.shape[0] * frames.shape[1]) as advance:
        expected = reference.run(loaded.graph, frames, advance)
    session = _stream(board, loaded, frames, 0.0)
    _print({**facts(session), "agreement_with_reference": session.agreement(expected)}, as_json)
    difference = first_difference(session, expected)
    if difference is not None:
        raise MismatchError(f"board {session.board} disagrees with the reference: {difference}")


def facts(session: Session) -> dict[str, Any]:
    """What a session came to, JSON-able; times in µs, of an emulated board no measure of a chip."""
    import numpy as np

    from edgesnn.devices.qemu import BOARDS

    latency = session.latency[np.isfinite(session.latency)] * 1e6
    percentile = {
        f"round_trip_us_p{p}": float(np.percentile(latency, p)) if latency.size else None
        for p in (50, 99)
    }
    return {
        "board": session.board,
        "emulated": session.board in BOARDS,
        "frames_sent": session.sent,
        "frames_answered": session.answered,
        "frames_lost": [list(place) for place in session.lost],
        "step_us_mean": float(session.micros.mean()) if session.micros.size else None,
        **percentile,
    }


def first_difference(session: Session, expected: Outputs) -> str | None:
    """The first frame that was lost or has other spikes or scores than expected, in words."""
    import numpy as np

    from edgesnn.devices.board import Fate

    if session.lost:
        sample, step = session.lost[0]
        return f"step {step} of recording {sample} was lost on the link"
    answered = session.fates == Fate.ANSWERED
    same = answered & (session.outputs.digests == expected.digests)
    same &= session.outputs.step_labels == expected.step_labels
    if bool(np.all(same)):
        return None
    sample, step = (int(k) for k in np.argwhere(~same)[0])
    return (
        f"other spikes or scores from step {step} of recording {sample} on "
        f"({int(np.sum(~same))} of {same.size} frames)"
    )


def _load(model: Path, recordings: Path) -> Any:
    from edgesnn import blob
    from edgesnn.cli import load_recordings

    loaded = blob.load(model)
    return loaded, loaded.graph.input.quantize(load_recordings(recordings))


def _stream(name: str, model: Any, frames: Any, period: float) -> Session:
    from edgesnn.devices.backend import open_board
    from edgesnn.devices.session import Stream
    from edgesnn.terminal import progress_bar

    with open_board(name) as board:
        with progress_bar(f"model to {board.info.name}", len(model.image)) as advance:
            board.put_model(model, advance)
        total = frames.shape[0] * frames.shape[1]
        with progress_bar(f"streaming to {board.info.name}", total) as advance:
            return Stream(board, frames, period).run(advance)


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        shown = len(value) if isinstance(value, list) else value
        shown = f"{shown:.4g}" if isinstance(shown, float) else shown
        click.echo(f"{name.replace('_', ' '):26} {shown}")
