"""A board at the other end of a transport: its model, its state, and frames streamed through it."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from edgesnn import blob
from edgesnn.devices import protocol
from edgesnn.devices.packet import Decoder, Packet, encode, packet_bytes
from edgesnn.devices.protocol import Info, Result, Status
from edgesnn.devices.transport import Transport
from edgesnn.errors import DeviceError, ModelError
from edgesnn.graph import Int16Array, SpikeInput

ANSWER_TIMEOUT = 5.0
HELLO_TIMEOUT = 1.0
HELLO_TRIES = 5
MODEL_PIECE = 1024
MODEL_PACKETS = (protocol.MODEL_BEGIN, protocol.MODEL_DATA, protocol.MODEL_END)

__all__ = ["Answer", "Board", "Result"]


class Board:
    """A board that answers.

    Args:
        transport: the link, which the board closes when it is closed itself.

    Attributes:
        info: what the board says of itself.
        bad_packets: damaged packets that came from the board.

    Raises:
        DeviceError: nothing answers, or it speaks another protocol version.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._decoder = Decoder()
        self._sequence = 0
        self._waiting: deque[Packet] = deque()
        self._left_early = False  # frames of a stream before may still be under way
        transport.write(b"\0")  # ends whatever a program before us left half sent
        info = self._hello()
        if info is None:
            raise DeviceError(
                "nothing that speaks edgesnn answers on this link: check the port, the baud rate "
                "and that the board runs the edgesnn firmware"
            )
        self.info = info
        self.model: blob.Model | None = None

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def bad_packets(self) -> int:
        """Damaged packets that came from the board."""
        return self._decoder.bad

    def close(self) -> None:
        """Close the link."""
        self._transport.close()

    def put_model(
        self, model: blob.Model, progress: Callable[[int], None] = lambda sent: None
    ) -> None:
        """Send a model; the board checks it, loads it and runs its self-test.

        `progress` is called with the number of bytes sent since its last call.

        Raises:
            ModelError: the board refuses it, and why: with the bytes needed and the bytes there if
                it is too large.
            DeviceError: the link failed.
        """
        image = model.image
        self.model = None
        self._order(protocol.MODEL_BEGIN, struct.pack("<I", len(image)))
        piece = min(MODEL_PIECE, self.info.payload_limit - 4)
        for offset in range(0, len(image), piece):
            data = image[offset : offset + piece]
            self._order(protocol.MODEL_DATA, struct.pack("<I", offset) + data)
            progress(len(data))
        self._order(protocol.MODEL_END)
        self.model = model

    def reset(self) -> None:
        """Put the model into the state that it starts from.

        Raises:
            ModelError: the board holds no model.
            DeviceError: the link failed.
        """
        self._order(protocol.RESET)

    def selftest(self) -> None:
        """Have the board run the golden run that is in its model.

        Raises:
            ModelError: it gives other bits, or there is none.
            DeviceError: the link failed.
        """
        self._order(protocol.SELFTEST)

    def stream(
        self, frames: Int16Array, *, period: float = 0.0, timeout: float = ANSWER_TIMEOUT
    ) -> Iterator[Answer]:
        """Step the model through frames (steps, input size) int16.

        Args:
            frames: what the input takes, quantised.
            period: seconds from frame to frame, for a stream in real time; 0 sends as fast as the
                board takes it.
            timeout: seconds without any answer after which what is under way counts as lost.

        Yields:
            an `Answer` for each frame, in order.

        Raises:
            ModelError: there is no model on the board, the frames have another width than its
                input, or it refuses one.
            DeviceError: the link failed, or the board went silent for good; every frame that was
                sent has been yielded before.
        """
        if self.model is None:
            raise ModelError("there is no model on the board: put one on it first")
        size = self.model.graph.input.size
        if frames.ndim != 2 or frames.shape[1] != size:
            raise ModelError(
                f"the frames have shape {frames.shape}, the model takes (steps, {size})"
            )
        if self._left_early:
            self._greet()
        window = _Window(self.info.window, self.model)
        try:
            yield from self._exchange(frames, window, period, timeout)
        except DeviceError:
            yield from window.lose()
            raise
        finally:
            self._left_early = bool(window.under_way)

    def _exchange(
        self, frames: Int16Array, window: _Window, period: float, timeout: float
    ) -> Iterator[Answer]:
        start = heard = time.monotonic()
        held = b""
        n = 0
        while n < len(frames) or window.under_way:
            batch = b""
            while n < len(frames) and time.monotonic() >= start + n * period:
                held = held or self._frame(frames[n])
                if not window.take(n, self._sequence, held):
                    break
                batch += held
                held = b""
                n += 1
            if batch:
                self._transport.write(batch)
            wait = timeout
            if period and n < len(frames):
                wait = min(timeout, max(0.0, start + n * period - time.monotonic()))
            packet = self._receive(wait)
            if packet is not None and window.holds(packet.sequence):
                heard = time.monotonic()
                yield from self._answers(window, packet, heard)
            elif window.under_way and window.waited(heard) >= timeout:
                yield from window.lose()
                self._greet()
                held = b""  # its number was passed by the greeting's

    def _answers(self, window: _Window, packet: Packet, heard: float) -> Iterator[Answer]:
        """What an answer says of the frames under way: one answered, those before it lost."""
        while window.under_way[0].sequence != packet.sequence:
            yield Answer(window.under_way.popleft().number, None)
        frame = window.under_way[0]
        if packet.type == protocol.STATUS:
            raise ModelError(
                f"board {self.info.name} refuses frame {frame.number}: "
                f"{Status.unpack(packet.payload).text()}"
            )
        answer = Answer(frame.number, Result.unpack(packet.payload), heard - frame.sent)
        window.under_way.popleft()
        yield answer

    def _frame(self, frame: Int16Array) -> bytes:
        assert self.model is not None
        if isinstance(self.model.graph.input, SpikeInput):
            events = np.flatnonzero(frame).astype("<u2")
            return self._encode(protocol.EVENTS, events.tobytes())
        return self._encode(protocol.FRAME, frame.astype("<i2").tobytes())

    def _encode(self, kind: int, payload: bytes = b"") -> bytes:
        self._sequence = (self._sequence + 1) & 0xFFFF
        return encode(Packet(kind, self._sequence, payload))

    def _receive(self, timeout: float) -> Packet | None:
        """The next packet from the board, None after `timeout` seconds of silence."""
        end = time.monotonic() + timeout
        while not self._waiting:
            left = end - time.monotonic()
            data = self._transport.read(max(0.0, left))
            packets = self._decoder.feed(data)
            # a link that echoes brings our own requests back
            self._waiting.extend(p for p in packets if p.type >= protocol.STATUS)
            if not self._waiting and left <= 0:
                return None
        return self._waiting.popleft()

    def _ask(self, kind: int, payload: bytes, timeout: float) -> Packet | None:
        """The board's answer to one request; answers to older ones are stale and dropped."""
        self._transport.write(self._encode(kind, payload))
        end = time.monotonic() + timeout
        while True:
            left = max(0.0, end - time.monotonic())
            packet = self._receive(left)
            if packet is None or packet.sequence == self._sequence:
                return packet
            if not left:
                return None

    def _order(self, kind: int, payload: bytes = b"") -> None:
        packet = self._ask(kind, payload, ANSWER_TIMEOUT)
        if packet is None:
            raise self._silence()
        status = Status.unpack(packet.payload)
        if status.code != 0:
            what = " the model" if kind in MODEL_PACKETS else ""
            raise ModelError(f"board {self.info.name} refuses{what}: {status.text()}")

    def _hello(self) -> Info | None:
        """What the board says of itself, None if it does not answer."""
        for _ in range(HELLO_TRIES):
            packet = self._ask(protocol.HELLO, bytes([protocol.VERSION]), HELLO_TIMEOUT)
            if packet is not None:
                return Info.unpack(packet.payload)
        return None

    def _greet(self) -> None:
        """Make sure that the board is there, and that nothing is under way in either direction."""
        if self._hello() is None:
            raise self._silence()

    def _silence(self) -> DeviceError:
        return DeviceError(
            f"board {self.info.name} does not answer any more: check the link and start over"
        )


@dataclass(frozen=True)
class Answer:
    """What became of one frame of a stream.

    Attributes:
        number: of the frame, from 0.
        result: what the board answered; None if the frame or its answer was lost on the way.
        latency: seconds from sending to answer, waiting in the board's queue included.
    """

    number: int
    result: Result | None
    latency: float = float("nan")


@dataclass(frozen=True)
class _Frame:
    number: int
    sequence: int
    size: int
    sent: float


class _Window:
    """Frames sent and not answered. Both directions are bounded by the board's window, so that
    neither side can block the other and nothing overruns a receiver. There is always room for a
    greeting.
    """

    def __init__(self, size: int, model: blob.Model) -> None:
        graph = model.graph
        scores = graph.size(graph.readout.population)
        self.size = size
        self.greeting = HELLO_TRIES * packet_bytes(1)
        self.answer = packet_bytes(protocol.result_bytes(scores))
        self.under_way: deque[_Frame] = deque()

    def take(self, number: int, sequence: int, data: bytes) -> bool:
        """Count a frame in; False where there is no room for it yet."""
        used = sum(frame.size for frame in self.under_way) + len(data) + self.greeting
        answers = (len(self.under_way) + 1) * self.answer
        if self.under_way and (used > self.size or answers > self.size):
            return False
        self.under_way.append(_Frame(number, sequence, len(data), time.monotonic()))
        return True

    def holds(self, sequence: int) -> bool:
        """Whether a frame with that sequence number is under way."""
        return any(frame.sequence == sequence for frame in self.under_way)

    def waited(self, heard: float) -> float:
        """Seconds for which the oldest frame has waited, or no answer has come if that is less."""
        return time.monotonic() - max(heard, self.under_way[0].sent)

    def lose(self) -> Iterator[Answer]:
        """Give up all that is under way."""
        while self.under_way:
            yield Answer(self.under_way.popleft().number, None)
