"""Every emulated core gives the reference's bits; tests/test_board.py goes deeper on one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from graphs import graphs_and_frames
from hypothesis import HealthCheck, assume, given, settings

from edgesnn import blob, reference
from edgesnn.devices import Board, Stream, open_board
from edgesnn.devices.protocol import RESULT_BYTES, STAMP
from edgesnn.devices.qemu import BOARDS
from edgesnn.errors import ModelError
from edgesnn.graph import Graph, Int16Array


@pytest.fixture(scope="module", params=[name for name in BOARDS if name != "mps2-an386"])
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    with open_board(request.param) as board:
        yield board


@pytest.mark.board
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(graphs_and_frames(samples=1, steps=6))
def test_any_graph_that_fits_gives_the_same_bits(
    board: Board, case: tuple[Graph, Int16Array]
) -> None:
    graph, frames = case
    model = blob.unpack(blob.pack(reference.with_selftest(graph, frames[0])))
    scores = graph.size(graph.readout.population)
    fits = (
        len(model.image) <= board.info.model_bytes
        and model.arena_bytes <= board.info.arena_bytes
        and max(STAMP.size + 2 * graph.input.size, RESULT_BYTES + 4 * scores)
        <= board.info.payload_limit
    )
    if not fits:
        with pytest.raises(ModelError, match=r"bytes needed, \d+ there"):
            board.put_model(model)
        assume(False)
    board.put_model(model)  # the board runs the self-test that is in it
    session = Stream(board, frames).run()
    expected = reference.run(graph, frames)
    assert session.lost == []
    for name in vars(expected):
        np.testing.assert_array_equal(getattr(session.outputs, name), getattr(expected, name))
