"""Recordings streamed through a board, with the fate of every frame kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn.devices.board import RETRY_AFTER, Answer, Board, Fate
from edgesnn.devices.log import LogWriter
from edgesnn.devices.record import record
from edgesnn.errors import ModelError
from edgesnn.graph import Int16Array
from edgesnn.reference import Outputs, Progress, lead


@dataclass
class Session:
    """What happened to recordings (samples, steps, input size) int16 on their way through a board.

    Attributes:
        fates: (samples, steps) uint8 of `Fate`.
        missed: (samples,) int64, frames of each sample that the board's step counter says it never
            saw; of the others that were lost only the answers were.
        latency: (samples, steps) float64, seconds from sending to answer, NaN where lost.
        micros: (samples, steps) int64, µs that each step took on the board.
        spikes: (samples, steps) int64, spikes of each step.
        outputs: the answers; a lost frame has digest 0 and label -1, and a sample that lost frames
            counts only what was answered.
    """

    fates: npt.NDArray[np.uint8]
    missed: npt.NDArray[np.int64]
    latency: npt.NDArray[np.float64]
    micros: npt.NDArray[np.int64]
    spikes: npt.NDArray[np.int64]
    outputs: Outputs
    board: str = field(default="")

    @property
    def sent(self) -> int:
        """Frames that were put on the link."""
        return int(np.count_nonzero(self.fates != Fate.WAITING))

    @property
    def answered(self) -> int:
        """Frames whose answer came back."""
        return int(np.count_nonzero(self.fates == Fate.ANSWERED))

    @property
    def lost(self) -> list[tuple[int, int]]:
        """(sample, step) of every frame that has no answer, whatever became of it."""
        return [(int(s), int(t)) for s, t in np.argwhere(self.fates > Fate.ANSWERED)]

    def agreement(self, expected: Outputs) -> float:
        """Share of all frames whose spikes and scores are the expected ones, bit for bit."""
        if self.fates.size == 0:
            raise ModelError("no frame was streamed: give a recording with at least one step")
        same = (self.fates == Fate.ANSWERED) & (self.outputs.digests == expected.digests)
        return float(np.mean(same & (self.outputs.step_labels == expected.step_labels)))


class Stream:
    """Streams recordings to a board, sample by sample, each from a reset.

    `session` is up to date at any moment, also when the link fails in the middle.

    Args:
        board: with a model on it.
        frames: (samples, steps, input size) int16.
        period: seconds from frame to frame; 0 as fast as the board takes them.
        timeout: seconds without any answer after which the board is asked what it has taken.
        resend: send again what did not reach the board, or count it as missed.
        log: to write everything down in; recordings that it holds to their end are not streamed
            again, and their answers are taken from it.
    """

    def __init__(
        self,
        board: Board,
        frames: Int16Array,
        period: float = 0.0,
        timeout: float = RETRY_AFTER,
        resend: bool = True,
        log: LogWriter | None = None,
    ) -> None:
        if board.model is None:
            raise ModelError("there is no model on the board: put one on it first")
        graph = board.model.graph
        samples, steps = frames.shape[:2]

        def zeros(*shape: int, dtype: type = np.int64) -> npt.NDArray[Any]:
            return np.zeros(shape, dtype)

        self.board, self.frames, self.period = board, frames, period
        self.timeout, self.resend, self.log = timeout, resend, log
        self.margin = graph.margin
        self.session = Session(
            fates=zeros(samples, steps, dtype=np.uint8),
            missed=zeros(samples),
            latency=np.full((samples, steps), np.nan),
            micros=zeros(samples, steps),
            spikes=zeros(samples, steps),
            outputs=Outputs(
                labels=np.full(samples, -1),
                scores=zeros(samples, graph.size(graph.readout.population), dtype=np.int32),
                step_labels=np.full((samples, steps), -1),
                synops=zeros(samples),
                macs=zeros(samples),
                spikes=zeros(samples),
                digests=zeros(samples, steps, dtype=np.uint32),
                decided=zeros(samples),
            ),
            board=board.info.name,
        )

    def run(self, progress: Progress = lambda frames: None) -> Session:
        """Stream everything; `progress` is called with the number of frames since its last call."""
        for _ in self:
            progress(1)
        return self.session

    def __iter__(self) -> Iterator[tuple[int, Answer]]:
        """Stream everything, yielding (sample, answer) as answers come."""
        for sample in range(len(self.frames)):
            for answers in self._answers(sample):
                for answer in answers:
                    self._keep(sample, answer)
                    yield sample, answer

    def _answers(self, sample: int) -> Iterator[list[Answer]]:
        frames = self.frames[sample]
        if self.log is None:
            self.board.reset()
            return self.board.stream_in_batches(
                frames, period=self.period, timeout=self.timeout, resend=self.resend
            )
        done = self.log.done(sample)
        if done is not None:
            return iter([done.answers()])
        return record(
            self.board, self.log, sample, frames,
            period=self.period, timeout=self.timeout, resend=self.resend,
        )  # fmt: skip

    def _keep(self, sample: int, answer: Answer) -> None:
        session, outputs = self.session, self.session.outputs
        at = sample, answer.number
        result = answer.result
        if result is None:
            session.fates[at] = answer.fate
            return
        session.fates[at] = Fate.ANSWERED
        session.missed[sample] = answer.number + 1 - result.step
        session.latency[at] = answer.latency
        session.micros[at] = result.micros
        session.spikes[at] = result.spikes
        outputs.labels[sample] = outputs.step_labels[at] = result.label
        outputs.scores[sample] = result.scores
        outputs.synops[sample] += result.synops
        outputs.macs[sample] += result.macs
        outputs.spikes[sample] += result.spikes
        outputs.digests[at] = result.digest
        if self.margin and not outputs.decided[sample] and lead(result.scores) >= self.margin:
            outputs.decided[sample] = answer.number + 1
