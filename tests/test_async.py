"""Boards with asyncio: the same answers, awaited, beside other work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import numpy as np
import pytest
from soak import MODEL, frames_of

import edgesnn.devices
from edgesnn import reference
from edgesnn.devices import Frame, open_board
from edgesnn.errors import DeviceError, MissingError, ModelError

FRAMES = frames_of(0, 500)
DIGESTS = reference.run(MODEL.graph, FRAMES[np.newaxis]).digests[0].tolist()

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_a_stream_of_answers_and_its_synchronous_twin() -> None:
    async def stream() -> list[int]:
        async with edgesnn.devices.open("virtual") as board:
            await board.put_model(MODEL)
            await board.reset()
            return [a.result.digest async for a in board.stream(FRAMES) if a.result]

    with open_board("virtual") as board:
        board.put_model(MODEL)
        board.reset()
        twin = [a.result.digest for a in board.stream(FRAMES) if a.result]
    assert run(stream()) == twin == DIGESTS


def test_frames_may_come_from_an_asynchronous_source() -> None:
    async def sensor() -> AsyncIterator[Frame]:
        for number, values in enumerate(FRAMES[:40]):
            await asyncio.sleep(0.001)
            yield Frame(values, 1000 * number)

    async def stream() -> list[tuple[int, int]]:
        async with edgesnn.devices.open("virtual://") as board:
            await board.put_model(MODEL)
            return [
                (a.result.digest, a.result.stamp) async for a in board.stream(sensor()) if a.result
            ]

    assert run(stream()) == [(DIGESTS[k], 1000 * k) for k in range(40)]


def test_what_a_source_raises_is_raised_by_the_stream() -> None:
    async def sensor() -> AsyncIterator[Frame]:
        yield Frame(FRAMES[0])
        raise DeviceError("the sensor is gone: put it on again")

    async def stream() -> None:
        async with edgesnn.devices.open("virtual") as board:
            await board.put_model(MODEL)
            async for answer in board.stream(sensor()):
                assert answer.number == 0

    with pytest.raises(DeviceError, match=r"^the sensor is gone"):
        run(stream())


def test_several_boards_run_beside_one_another() -> None:
    async def stream(board: edgesnn.devices.AsyncBoard) -> list[int]:
        async with board:
            await board.put_model(MODEL)
            return [a.result.digest async for a in board.stream(FRAMES[:100]) if a.result]

    async def both() -> list[list[int]]:
        boards = [edgesnn.devices.open("virtual") for _ in range(2)]
        return list(await asyncio.gather(*map(stream, boards)))

    assert run(both()) == [DIGESTS[:100]] * 2


def test_a_stream_that_is_left_early_or_cancelled_leaves_the_board_usable() -> None:
    async def stream() -> list[int]:
        async with edgesnn.devices.open("virtual") as board:
            await board.put_model(MODEL)
            async for _ in board.stream(FRAMES):
                break
            slow = board.stream(FRAMES, period=20.0)
            assert (await anext(slow)).number == 0
            task = asyncio.ensure_future(anext(slow))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await board.reset()
            return [a.result.digest async for a in board.stream(FRAMES[:20]) if a.result]

    assert run(stream()) == DIGESTS[:20]


def test_the_other_commands() -> None:
    async def talk() -> None:
        async with edgesnn.devices.open("virtual") as board:
            assert board.info.name == "virtual"
            assert board.model is None
            await board.put_model(MODEL)
            await board.put_model(MODEL, slot=1)
            await board.select(0, MODEL)
            assert (await board.models()).selected == 0
            await board.selftest()
            await board.subscribe("potentials", "out")
            (answer,) = [a async for a in board.stream(FRAMES[:1])]
            assert answer.result is not None
            assert len(answer.result.subscribed) == 4 * 5
            assert (await board.counters()).steps > 0
            with pytest.raises(ModelError, match="no population 'nobody'"):
                await board.subscribe("spikes", "nobody")

    run(talk())


def test_a_board_that_is_not_there_or_not_open_is_one_sentence() -> None:
    async def enter() -> None:
        async with edgesnn.devices.open("/dev/ttyNONE7"):
            pass

    with pytest.raises(MissingError, match=r"^there is no port /dev/ttyNONE7: plug the board in"):
        run(enter())
    with pytest.raises(DeviceError, match=r"^the board is not open: use it inside `async with`$"):
        run(edgesnn.devices.open("virtual").reset())
