"""Recording a session, going on with one that was cut, and running it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob, reference, runtime
from edgesnn.devices.board import RETRY_AFTER, Answer, Board, Fate, Frame, Result, Source
from edgesnn.devices.log import Log, LogWriter, Recording
from edgesnn.errors import MismatchError, ModelError
from edgesnn.graph import Int16Array
from edgesnn.reference import Progress


def record(
    board: Board,
    log: LogWriter,
    number: int,
    source: Source,
    *,
    period: float = 0.0,
    timeout: float = RETRY_AFTER,
    resend: bool = True,
    continues: bool = False,
) -> Iterator[list[Answer]]:
    """Stream one recording, written down as it goes.

    A frame is in the log before it is sent, an answer before it is yielded. Where the log goes on
    and holds a part of this recording, its frames are sent again, from a reset, so that the board
    comes into the same state; answers that the log lacks are then written as well.

    Args:
        board: with the log's model on it.
        log: to write to.
        number: of the recording.
        source: its frames (`Source`).
        period, timeout, resend: as `Board.stream`.
        continues: whether the source goes on behind the frames that the log holds, as a sensor
            does; otherwise it has these frames once more, and they must be the same.

    Yields:
        an `Answer` for each frame, in order, those that come together in one list.

    Raises:
        ModelError: the source's first frames are not those in the log.
        MismatchError: the board answers a frame otherwise than before.
        DeviceError: the link failed, or the board went silent for good.
    """
    before = _recorded(log.read, number)
    known = 0 if before is None else len(before.frames)
    frames = _frames(source, board, period)
    if before is not None:
        frames = chain(_again(before), frames if continues else _without(frames, before))

    def before_send(fresh: Sequence[tuple[int, Frame]]) -> None:
        new = [(k, frame) for k, frame in fresh if k >= known]
        if new:
            log.frames(new)

    board.reset()
    log.recording(number)
    count = 0
    for answers in board.stream_in_batches(
        frames, period=period, timeout=timeout, resend=resend, before_send=before_send
    ):
        count += len(answers)
        log.answers(answers if before is None else _news(answers, before))
        yield answers
    log.end(count)


def _recorded(log: Log | None, number: int) -> Recording | None:
    recordings = [] if log is None else log.recordings
    return next((r for r in recordings if r.number == number), None)


def _frames(source: Source, board: Board, period: float) -> Iterator[Frame | None]:
    if isinstance(source, np.ndarray):
        return board.frames_of(source, period)
    return iter(source)


def _again(recording: Recording) -> Iterator[Frame]:
    for values, stamp in zip(recording.frames, recording.stamps, strict=True):
        yield Frame(values, int(stamp))


def _without(frames: Iterator[Frame | None], recording: Recording) -> Iterator[Frame | None]:
    """The frames behind those that are in the log, which must be the same."""
    given = (frame for frame in frames if frame is not None)
    for step, frame in enumerate(islice(given, len(recording.frames))):
        if not np.array_equal(frame.values, recording.frames[step]):
            raise ModelError(
                f"frame {step} of recording {recording.number} is another than in the log: go on "
                "with the recordings that the session was begun with"
            )
    yield from frames


def _news(answers: list[Answer], before: Recording) -> list[Answer]:
    """The answers that the log lacks; those that it has must be the same."""
    news = []
    for answer in answers:
        known = None
        if answer.number < len(before.results):
            known = before.results[answer.number]
        if known is None:
            news.append(answer)
        elif answer.result is not None and _bits(answer.result) != _bits(known):
            raise MismatchError(
                f"the board answers frame {answer.number} of recording {before.number} otherwise "
                "than before the cut: verify the board"
            )
    return news


def _bits(result: Result) -> tuple[object, ...]:
    """What must be the same on every board: all but times."""
    return (
        result.label, result.step, result.spikes, result.synops, result.macs, result.digest,
        result.scores.tobytes(), result.subscribed,
    )  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """What came of running a session again.

    Attributes:
        frames: that were run.
        answers: that were compared.
        different: (recording, frame) of every answer that was not reproduced.
    """

    frames: int
    answers: int
    different: list[tuple[int, int]]


def replay(log: Log, backend: str = "core", progress: Progress = lambda frames: None) -> Replay:
    """Run a session again and compare every answer in the log.

    Args:
        log: the session.
        backend: "core" compares step, label and digest (of all spikes and scores), "reference" in
            addition scores and what the step cost.
        progress: called with the number of frames run since its last call.

    Raises:
        ModelError: there is no such backend.
    """
    if backend not in BACKENDS:
        raise ModelError(
            f"a session cannot be run again on '{backend}': {' and '.join(BACKENDS)} can"
        )
    frames = answers = 0
    different = []
    for recording in log.recordings:
        ran = _ran(recording)
        computed = BACKENDS[backend](log.model, recording.frames[ran]) if len(ran) else iter(())
        for number, expected in zip(ran, computed, strict=True):
            result = recording.results[number]
            if result is not None:
                answers += 1
                if not _same(result, expected):
                    different.append((recording.number, int(number)))
        frames += len(ran)
        progress(len(recording.frames))
    return Replay(frames, answers, different)


def _ran(recording: Recording) -> npt.NDArray[np.int64]:
    """Which frames the board ran, up to the last that it answered."""
    answered = np.flatnonzero(recording.fates == Fate.ANSWERED)
    end = int(answered[-1]) + 1 if len(answered) else 0
    return np.flatnonzero(recording.fates[:end] != Fate.MISSED)


def _on_core(model: blob.Model, frames: Int16Array) -> Iterator[_Expected]:
    """What each step of frames (steps, channels) must give."""
    outputs = runtime.run(model.image, frames[np.newaxis], threads=1)
    labels, digests = outputs.step_labels[0], outputs.digests[0]
    for step, (label, digest) in enumerate(zip(labels, digests, strict=True), 1):
        yield {"step": step, "label": int(label), "digest": int(digest)}


def _on_reference(model: blob.Model, frames: Int16Array) -> Iterator[_Expected]:
    synops = macs = 0
    for step, state in enumerate(reference.steps(model.graph, frames[np.newaxis]), 1):
        yield {
            "step": step,
            "label": int(np.argmax(state.scores[0])),
            "digest": state.digest(0),
            "spikes": sum(
                int(np.count_nonzero(state.emitted[p.name][0])) for p in model.graph.populations
            ),
            "synops": int(state.synops[0]) - synops,
            "macs": int(state.macs[0]) - macs,
            "scores": state.scores[0].tolist(),
        }
        synops, macs = int(state.synops[0]), int(state.macs[0])


_Expected = dict[str, int | list[int]]
BACKENDS = {"core": _on_core, "reference": _on_reference}


def _same(result: Result, expected: _Expected) -> bool:
    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray) else value

    return all(plain(getattr(result, name)) == value for name, value in expected.items())
