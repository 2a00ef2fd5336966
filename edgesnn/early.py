"""Answers before the end of a recording: the margin of a sure one, chosen on recordings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob, runtime
from edgesnn.errors import ModelError
from edgesnn.graph import Graph, Int16Array

TRIED = 512
"""Margins, at even shares of all leads that were seen."""


@dataclass(frozen=True)
class Early:
    """A margin and what it does on the recordings that it was chosen on.

    Attributes:
        margin: of `Graph`.
        steps: share of the steps that are run up to a decided answer.
        accuracy: of the answers at the end.
        early_accuracy: of the decided ones, and of those at the end where none was.
    """

    margin: int
    steps: float
    accuracy: float
    early_accuracy: float


def with_margin(
    graph: Graph, frames: Int16Array, labels: npt.NDArray[np.int64], loss: float
) -> tuple[Graph, Early]:
    """The graph with the smallest margin from which on no larger one loses more than allowed.

    Args:
        graph: of two scores or more.
        frames: recordings (samples, steps, channels) int16, best other ones than it was trained on.
        labels: (samples,) of them.
        loss: share of the recordings, 0..1, that may be answered worse than at their end.

    Raises:
        ModelError: there is one score only, or no recording.
    """
    if graph.size(graph.readout.population) < 2:
        raise ModelError("an early answer needs two scores or more, and this model has one")
    if frames.shape[0] == 0 or frames.shape[1] == 0:
        raise ModelError("an early answer is chosen on recordings, and there is none")
    outputs, leads = runtime.leads(blob.pack_image(replace(graph, margin=0)), frames)
    steps = frames.shape[1]
    accuracy = float((outputs.labels == labels).mean())
    margins = np.unique(np.quantile(leads, np.linspace(0, 1, TRIED)).astype(np.int64))
    margins = np.clip(np.append(margins, margins[-1] + 1), 1, (1 << 31) - 1)
    best = None
    for margin in margins[::-1]:
        decided = leads >= margin
        at = np.where(decided.any(axis=1), decided.argmax(axis=1), steps - 1)
        early = _share(outputs.step_labels[np.arange(len(at)), at], labels)
        if early < accuracy - loss - 1e-12:
            break
        best = Early(int(margin), float((at + 1).mean() / steps), accuracy, early)
    assert best is not None  # the largest margin decides nothing, or nothing wrongly
    return replace(graph, margin=best.margin), best


def _share(found: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> float:
    return float((found == labels).mean())
