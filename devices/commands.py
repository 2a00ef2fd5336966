"""Commands that need a board or a session: `stream`, `verify`, `record` and `replay`."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesnn.cli import Given, recording_options

if TYPE_CHECKING:
    from edgesnn.devices.log import LogWriter
    from edgesnn.devices.session import Session
    from edgesnn.reference import Outputs

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


def board_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a board; the command gets the argument `board`."""

    @click.option(
        "--board",
        "--port",
        "board",
        default="virtual",
        show_default=True,
        help="virtual, an emulated board such as mps2-an386, a port such as /dev/ttyACM0, or a "
        "URL.",
    )
    @click.option("--ble", help="A board over Bluetooth, by its name or address.")
    @functools.wraps(command)
    def with_board(*, board: str, ble: str | None, **rest: Any) -> None:
        command(board=board if ble is None else f"ble://{ble}", **rest)

    return with_board  # fmt: skip


INPUT = recording_options("--input")
REALTIME = click.option(
    "--realtime", is_flag=True, help="At the pace of the sensor, not of the board."
)
RATE = click.option("--rate", type=float, help="Frames a second; default: what the model says.")


@click.command()
@click.argument("model", type=PATH)
@INPUT
@board_options
@REALTIME
@RATE
@click.option("--view", is_flag=True, help="Show signals, spikes and classes while it runs.")
@JSON
def stream(
    model: Path, given: Given, board: str, realtime: bool, rate: float | None, view: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Stream recordings to a board and print what it recognises, and every frame's fate."""
    loaded, frames = _load(model, given)
    period = _period(model, loaded, realtime, rate)
    session = _stream(board, loaded, frames, period, view=view)
    for sample, label in enumerate(session.outputs.labels):
        if not as_json:
            name = loaded.classes[label] if label >= 0 else "no answer"
            click.echo(f"recording {sample}: {name}")
    _print(facts(session), as_json)
    _complain_of_losses(session)


@click.command()
@click.argument("model", type=PATH)
@INPUT
@board_options
@JSON
def verify(model: Path, given: Given, board: str, as_json: bool) -> None:
    """Prove that a board computes what the reference computes, bit for bit, or exit with 1."""
    from edgesnn import reference
    from edgesnn.errors import MismatchError
    from edgesnn.terminal import progress_bar

    loaded, frames = _load(model, given)
    with progress_bar("reference", frames.shape[0] * frames.shape[1]) as advance:
        expected = reference.run(loaded.graph, frames, advance)
    session = _stream(board, loaded, frames, 0.0)
    _print({**facts(session), "agreement_with_reference": session.agreement(expected)}, as_json)
    difference = first_difference(session, expected)
    if difference is not None:
        raise MismatchError(f"board {session.board} disagrees with the reference: {difference}")


@click.command()
@click.argument("model", type=PATH)
@INPUT
@board_options
@click.option(
    "-o", "--output", type=PATH, required=True, help="The session log; usual name: NAME.esnl."
)
@REALTIME
@RATE
@click.option("--resume", is_flag=True, help="Go on with a session that was cut.")
@JSON
def record(
    model: Path, given: Given, board: str, output: Path, realtime: bool, rate: float | None,
    resume: bool, as_json: bool,
) -> None:  # fmt: skip
    """Stream recordings to a board and write down every frame and answer, for `replay`.

    The log survives a kill at any moment; --resume goes on from there. A link that fails is opened
    again, and a board that lost its state meanwhile is brought back into it.
    """
    from edgesnn.devices.board import StateLostError
    from edgesnn.devices.log import LogWriter, read
    from edgesnn.errors import MissingError

    loaded, frames = _load(model, given)
    period = _period(model, loaded, realtime, rate)

    def begin() -> LogWriter:
        return LogWriter.create(output, loaded, source=str(given.path), period=period)

    def go_on() -> LogWriter:
        return LogWriter.go_on(output, loaded)

    if output.exists() and not resume:  # before a board is bothered
        raise MissingError(
            f"there is a file {output} already: choose another name, or go on with --resume"
        )
    log = go_on if resume else begin
    answered = 0
    while True:
        try:
            session = _stream(board, loaded, frames, period, log)
            break
        except StateLostError:
            before, answered = answered, read(output).answered
            if answered <= before:  # it does not get any further
                raise
            log = go_on
    _print({**facts(session), "log": str(output)}, as_json)
    _complain_of_losses(session)


@click.command()
@click.argument("log", type=PATH)
@click.option(
    "--backend", default="core", show_default=True,
    help="core compares step, label and digest of all spikes and scores; reference also the rest.",
)  # fmt: skip
@JSON
def replay(log: Path, backend: str, as_json: bool) -> None:
    """Run a recorded session again, and exit with 1 unless every answer is reproduced."""
    from edgesnn.devices.log import read
    from edgesnn.devices.record import replay as run_again
    from edgesnn.errors import MismatchError
    from edgesnn.terminal import progress_bar

    session = read(log)
    total = sum(len(recording.frames) for recording in session.recordings)
    with progress_bar(f"replaying on {backend}", total) as advance:
        done = run_again(session, backend, advance)
    values = {
        "recordings": len(session.recordings),
        "frames": total,
        "frames_answered": session.answered,
        "frames_lost": [list(place) for place in session.lost],
        "answers_reproduced": done.answers - len(done.different),
        "closed": session.closed,
        "cut_bytes": session.cut_bytes,
        "board": session.boards[-1]["name"] if session.boards else None,
        "firmware": session.boards[-1]["firmware"] if session.boards else None,
        "model_sha256": session.session["model_sha256"],
    }
    _print(values, as_json)
    if done.different:
        recording, frame = done.different[0]
        raise MismatchError(
            f"{backend} gives {len(done.different)} other answers than the session, the first at "
            f"frame {frame} of recording {recording}: compare the firmware's version with this one"
        )


@click.group()
def plot() -> None:
    """Draw pictures."""


@plot.command("session")
@click.argument("log", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="The picture; .png, .svg or .pdf.")
@click.option("--recording", type=int, help="Its number; default: the first of the session.")
def plot_session(log: Path, output: Path, recording: int | None) -> None:
    """Draw a recording of a session: signals, spikes, answers and losses."""
    from edgesnn.devices import picture
    from edgesnn.devices.log import read

    picture.session(output, read(log), recording)
    click.echo(f"wrote {output}")


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


def _load(model: Path, given: Given) -> Any:
    from edgesnn import blob

    loaded = blob.load(model)
    return loaded, loaded.graph.input.quantize(given.load_for(loaded.graph).signal)


def _period(model: Path, loaded: Any, realtime: bool, rate: float | None) -> float:
    """Seconds from frame to frame, 0 where nothing says so."""
    from edgesnn.errors import ModelError

    if not realtime:
        return 0.0
    if rate is not None and not rate > 0:
        raise ModelError(f"--rate {rate:g} is no number of frames a second: give one above 0")
    if not rate and not loaded.graph.step_us:
        raise ModelError(f"{model} does not say how often a frame comes: give it with --rate")
    return 1 / rate if rate else loaded.graph.step_us / 1e6


def _complain_of_losses(session: Session) -> None:
    from edgesnn.errors import DeviceError

    if session.lost:
        sample, step = session.lost[0]
        raise DeviceError(
            f"{len(session.lost)} frames were lost, the first is step {step} of recording "
            f"{sample}: check the link"
        )


def _stream(
    name: str,
    model: Any,
    frames: Any,
    period: float,
    log: Callable[[], LogWriter] | None = None,
    view: bool = False,
) -> Session:
    from edgesnn.devices.backend import open_board
    from edgesnn.devices.session import Stream
    from edgesnn.terminal import progress_bar

    with open_board(name, reconnect=log is not None) as board:
        with progress_bar(f"model to {board.info.name}", len(model.image)) as advance:
            board.use(model, advance)
        if view:
            from edgesnn.devices.view import view_of

            return view_of(Stream(board, frames, period))
        total = frames.shape[0] * frames.shape[1]
        with (
            progress_bar(f"streaming to {board.info.name}", total) as advance,
            log() if log else nullcontext() as writer,
        ):
            if writer is None:
                return Stream(board, frames, period).run(advance)
            writer.board(board, name)
            session = Stream(board, frames, period, log=writer).run(advance)
            writer.closed()
            return session


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        shown = len(value) if isinstance(value, list) else value
        shown = f"{shown:.4g}" if isinstance(shown, float) else shown
        click.echo(f"{name.replace('_', ' '):26} {shown}")
