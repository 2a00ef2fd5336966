"""A board for asyncio: the methods of `Board`, awaited, and streams with `async for`.

The board itself runs in a thread of its own, as links and files block.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

from edgesnn import blob
from edgesnn.devices.backend import open_board
from edgesnn.devices.board import RETRY_AFTER, Answer, Board, Frame, Source
from edgesnn.devices.protocol import Counters, Info, Models, Samples
from edgesnn.errors import DeviceError

__all__ = ["AsyncBoard", "open"]

P = ParamSpec("P")
T = TypeVar("T")


def open(name: str, *, reconnect: bool = False) -> AsyncBoard:
    """A board by name, port or URL, to be used with `async with`.

    ```python
    async with edgesnn.devices.open("serial:///dev/ttyACM0") as board:
        await board.put_model(model)
        async for answer in board.stream(frames):
            ...
    ```

    Args:
        name: as of `open_board`, its synchronous twin.
        reconnect: as of `open_board`.

    Raises, when it is entered:
        MissingError: there is none.
        DeviceError: it does not answer.
    """
    return AsyncBoard(lambda: open_board(name, reconnect=reconnect))


class AsyncBoard:
    """A board that is opened by `async with` and closed at its end; otherwise as `Board`.

    Args:
        opener: opens the board; called in the board's thread.
    """

    def __init__(self, opener: Callable[[], Board]) -> None:
        self._opener = opener
        self._board: Board | None = None
        self._streams: set[Generator[list[Answer], None, None]] = set()
        self._thread = ThreadPoolExecutor(1, "board")

    async def __aenter__(self) -> AsyncBoard:
        try:
            self._board = await self._call(self._opener)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for batches in tuple(self._streams):
            await self._end(batches)
        await self._call(self._open.close)
        self._thread.shutdown(wait=False)

    @property
    def _open(self) -> Board:
        if self._board is None:
            raise DeviceError("the board is not open: use it inside `async with`")
        return self._board

    @property
    def info(self) -> Info:
        """What the board says of itself."""
        return self._open.info

    @property
    def model(self) -> blob.Model | None:
        """The one that was put on it or selected last through this object."""
        return self._open.model

    async def put_model(self, model: blob.Model, *, slot: int = 0) -> None:
        """See `Board.put_model`."""
        await self._call(self._open.put_model, model, slot=slot)

    async def use(self, model: blob.Model) -> None:
        """See `Board.use`."""
        await self._call(self._open.use, model)

    async def models(self) -> Models:
        """See `Board.models`."""
        return await self._call(self._open.models)

    async def select(self, slot: int, model: blob.Model) -> None:
        """See `Board.select`."""
        await self._call(self._open.select, slot, model)

    async def reset(self) -> None:
        """See `Board.reset`."""
        await self._call(self._open.reset)

    async def selftest(self) -> None:
        """See `Board.selftest`."""
        await self._call(self._open.selftest)

    async def counters(self) -> Counters:
        """See `Board.counters`."""
        return await self._call(self._open.counters)

    async def samples(self, first: int) -> Samples:
        """See `Board.samples`."""
        return await self._call(self._open.samples, first)

    async def subscribe(self, what: str, population: str | None = None) -> None:
        """See `Board.subscribe`."""
        await self._call(self._open.subscribe, what, population)

    async def stream(
        self,
        source: Source | AsyncIterable[Frame],
        *,
        period: float = 0.0,
        timeout: float = RETRY_AFTER,
        resend: bool = True,
    ) -> AsyncIterator[Answer]:
        """See `Board.stream`; the source may be an asynchronous one, of frames as they come."""
        pump: asyncio.Task[None] | None = None
        if isinstance(source, AsyncIterable):
            coming: queue.SimpleQueue[Frame] = queue.SimpleQueue()
            pump = asyncio.create_task(_pump(source, coming))
            source = _arrived(coming, pump)
        batches = self._open.stream_in_batches(
            source, period=period, timeout=timeout, resend=resend
        )
        self._streams.add(batches)
        try:
            while (answers := await self._call(next, batches, None)) is not None:
                for answer in answers:
                    yield answer
            if pump is not None:
                await pump  # what the source raised
        finally:
            if pump is not None:
                pump.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([pump])
            await self._end(batches)

    async def _end(self, batches: Generator[list[Answer], None, None]) -> None:
        # a stream that was left without being closed may come here when the board is closed
        if batches in self._streams:
            self._streams.discard(batches)
            await self._call(batches.close)

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))


async def _pump(source: AsyncIterable[Frame], coming: queue.SimpleQueue[Frame]) -> None:
    async for frame in source:
        coming.put(frame)


def _arrived(coming: queue.SimpleQueue[Frame], pump: asyncio.Task[None]) -> Iterator[Frame | None]:
    """The frames that have arrived, None where there is none yet."""
    while True:
        over = pump.done()  # asked first: what came before its end is then in the queue
        try:
            yield coming.get_nowait()
        except queue.Empty:
            if over:
                return
            yield None
