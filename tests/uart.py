"""The Nordic UART Service without its radio: a board's line at the end of two characteristics."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from edgesnn.devices.transport import Transport


class Uart:
    """What is written to it goes to the board; what the board says is notified, while linked.

    Attributes:
        writes: sizes of what was written, bytes.
        unheard: bytes that the board said while nobody was linked, lost as on a watch.
    """

    def __init__(self, board: Transport) -> None:
        self.writes: list[int] = []
        self.unheard = 0
        self._board = board
        self._to_board: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._notify: Callable[[bytes], None] | None = None
        self._size = 20
        self._left: int | None = None
        self._lose: Callable[[], None] = lambda: None
        self._ended = False
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def written(self, data: bytes) -> None:
        """The central wrote `data`."""
        self.writes.append(len(data))
        self._to_board.put(bytes(data))

    def link(self, notify: Callable[[bytes], None] | None, size: int = 20) -> None:
        """A central listens from now on, with so many bytes a notification; None: no more."""
        with self._lock:
            self._notify, self._size = notify, size

    @property
    def linked(self) -> bool:
        """Whether a central listens."""
        return self._notify is not None

    def lose_after(self, notifications: int, lose: Callable[[], None]) -> None:
        """Call `lose` in the place of the notification after that many more."""
        with self._lock:
            self._left, self._lose = notifications, lose

    def close(self) -> None:
        """Let go of the board, and stop it if it was started for this."""
        self._ended = True
        self._to_board.put(None)
        for thread in self._threads:
            thread.join()
        self._board.close()

    def _write(self) -> None:
        while (data := self._to_board.get()) is not None:
            self._board.write(data)

    def _read(self) -> None:
        while not self._ended:
            data = self._board.read(0.05)
            while data:
                data = self._say(data)

    def _say(self, data: bytes) -> bytes:
        """Notify the first bytes; the rest."""
        with self._lock:
            if self._left == 0:
                self._left, self._notify = None, None
                self._lose()
            if self._notify is None:
                self.unheard += len(data)
                return b""
            if self._left is not None:
                self._left -= 1
            self._notify(data[: self._size])
            return data[self._size :]
