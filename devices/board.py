"""A board at the other end of a transport: its models, its state, and frames streamed through it.

Packets are numbered, and a board runs them in that order without gaps: a frame is run once, behind
all frames before it, or not at all. What a link loses or damages is sent again; an answer that is
lost on its way back is counted as lost, with the frame's number.
"""

from __future__ import annotations

import contextlib
import enum
import secrets
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from edgesnn import blob
from edgesnn.devices import protocol, signing
from edgesnn.devices.packet import Decoder, Packet, encode, packet_bytes
from edgesnn.devices.protocol import (
    Counters,
    Info,
    Models,
    Progress,
    Result,
    Samples,
    Slot,
    Status,
    Stored,
)
from edgesnn.devices.transport import Transport
from edgesnn.errors import DeviceError, MissingError, ModelError
from edgesnn.graph import Int16Array, SpikeInput

RETRY_AFTER = 1.0
HELLO_TIMEOUT = 1.0
TRIES = 5
RECONNECT_FOR = 30.0
POLL = 0.005
MODEL_PIECE = 1024
SMALLEST_PIECE = 16
MODEL_TRIES = 50
RESEND_TRIES = 20
UPDATE_UNIT = 32
UPDATE_END_TIMEOUT = 20.0
RESTART_TIMEOUT = 20.0
MODEL_PACKETS = (
    protocol.MODEL_BEGIN, protocol.MODEL_DATA, protocol.MODEL_END,
    protocol.UPDATE_BEGIN, protocol.UPDATE_DATA, protocol.UPDATE_END,
)  # fmt: skip
SUBSCRIPTIONS = {
    "nothing": protocol.NOTHING,
    "spikes": protocol.SPIKES,
    "potentials": protocol.POTENTIALS,
}

__all__ = ["Answer", "Board", "Fate", "Frame", "Result", "Source"]


class Fate(enum.IntEnum):
    """What became of a frame."""

    WAITING = 0
    """It was not sent yet, or its answer is still to come."""
    ANSWERED = 1
    LOST = 2
    """The board ran it, and its answer was lost on the way back."""
    MISSED = 3
    """It never reached the board."""
    UNKNOWN = 4
    """The link went before it was known whether the board had run it."""


@dataclass(frozen=True)
class Frame:
    """What the input takes in one step.

    Attributes:
        values: (channels,) int16, quantised.
        time_us: when it was taken, µs of any steady clock; goes with it, modulo 2**32.
    """

    values: Int16Array
    time_us: int = 0


Source = Int16Array | Iterable[Frame | None]
"""Frames (steps, channels) int16, or one `Frame` after the other, None where none is ready yet."""


@dataclass(frozen=True)
class Answer:
    """What became of one frame of a stream.

    Attributes:
        number: of the frame, from 0.
        result: what the board answered; None where the fate is not `Fate.ANSWERED`.
        latency: seconds from sending to answer, waiting in the board's queue included.
        fate: never `Fate.WAITING`.
    """

    number: int
    result: Result | None
    latency: float = float("nan")
    fate: Fate = Fate.ANSWERED


class StateLostError(DeviceError):
    """A board was started anew or used by another program: what it held is gone."""


class Board:
    """A board that answers.

    Args:
        transport: the link, which the board closes when it is closed itself.
        reopen: gives a new link to the same board where the link fails in the middle of a stream,
            which then goes on (see `resume`); None: the stream ends with the link.

    Attributes:
        info: what the board says of itself.
        model: the one that was put on it or selected last through this object.

    Raises:
        DeviceError: nothing answers, or it speaks another protocol version.
    """

    def __init__(self, transport: Transport, reopen: Callable[[], Transport] | None = None) -> None:
        self._transport = transport
        self._reopen = reopen
        self._decoder = Decoder()
        self._bad_before = 0  # counted by the decoders of earlier links
        self._token = secrets.randbits(32)
        self._sequence = 0
        self._greetings = secrets.randbits(16)
        self._waiting: deque[Packet] = deque()
        self._early: list[Packet] = []  # came before the answer to a greeting
        self._left_early = False  # frames of a stream before may still be under way
        self._flight: _Flight | None = None
        info = self._hello()
        if info is None:
            raise DeviceError(
                "what comes from this link are no edgesnn packets: check the baud rate, and that "
                "the board runs the edgesnn firmware"
                if self._decoder.bad or self._decoder.pending
                else "nothing that speaks edgesnn answers on this link: check the port, the baud "
                "rate and that the board runs the edgesnn firmware"
            )
        self._early.clear()
        self.info = info
        self.model: blob.Model | None = None
        self._subscribed = 0  # most bytes that a subscription adds to an answer

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
        return self._bad_before + self._decoder.bad

    def close(self) -> None:
        """Close the link."""
        self._transport.close()

    def resume(self, transport: Transport) -> None:
        """Go on over another link to the same board, which has kept its model and its state.

        The link before is closed. Answers that were under way on it are lost.

        Raises:
            DeviceError: nothing answers, or the board was started anew or used by another program
                in the meantime, so that its state is gone.
        """
        self._change(transport)
        self._meet()

    def _change(self, transport: Transport) -> None:
        self._transport.close()
        self._transport = transport
        self._bad_before += self._decoder.bad
        self._decoder = Decoder()
        self._waiting.clear()

    def put_model(
        self,
        model: blob.Model,
        progress: Callable[[int], None] = lambda sent: None,
        *,
        slot: int = 0,
    ) -> None:
        """Send a model and select it; the board checks it, loads it and runs its self-test.

        Args:
            model: its image goes to the board.
            progress: called with the number of bytes sent since its last call.
            slot: where it is kept, at most one behind the filled ones (`models`); the models in
                this slot and behind it are given up.

        Raises:
            ModelError: the board refuses it, and why: with the bytes needed and the bytes there if
                it is too large.
            DeviceError: the link failed.
        """
        image = model.image
        self.model = None
        self._order(protocol.MODEL_BEGIN, struct.pack("<IB", len(image), slot))
        piece = min(MODEL_PIECE, self.info.payload_limit - 4)
        self._send_pieces(protocol.MODEL_DATA, image, 0, piece, 1, progress)
        self._order(protocol.MODEL_END)
        self._took(model)

    def _send_pieces(
        self,
        kind: int,
        data: bytes,
        offset: int,
        piece: int,
        unit: int,
        progress: Callable[[int], None],
    ) -> None:
        """Send what is behind `offset`, in pieces of whole units."""
        tries = 0
        while offset < len(data):
            part = data[offset : offset + piece]
            packet = self._try(kind, struct.pack("<I", offset) + part)
            if packet is None:  # a shorter one comes through a bad link more often
                piece = max(SMALLEST_PIECE, piece // 2 // unit * unit)
                tries += 1
                if tries == MODEL_TRIES:
                    raise self._silence()
                continue
            status = Status.unpack(packet.payload)
            if tries and status.code == protocol.ERR_ORDER and status.needed > offset:
                sent = status.needed - offset  # it has come; what was lost is its answer
            else:
                self._expect_done(kind, status)
                sent = len(part)
            offset += sent
            tries = 0
            progress(sent)

    def stored(self) -> Stored | None:
        """The model that the board keeps in flash; None: it keeps none, in no flash.

        Raises:
            DeviceError: the link failed.
        """
        if not self.info.has_store:
            return None
        return Stored.unpack(self._fetch(protocol.STORE))

    def use(self, model: blob.Model, progress: Callable[[int], None] = lambda sent: None) -> None:
        """Run a model: the one in flash where that is it, else it is sent (`put_model`).

        Raises:
            ModelError: the board refuses it, and why.
            DeviceError: the link failed.
        """
        stored = self.stored()
        if stored is None or stored.model != Slot.of(model.image):
            self.put_model(model, progress)
            return
        self.model = None
        self._order(protocol.SELECT, bytes([protocol.STORED_SLOT]))
        self._took(model)

    def send_update(
        self,
        data: bytes,
        page: int,
        progress: Callable[[int], None] = lambda sent: None,
    ) -> None:
        """Send a signed model to the board's flash, which is to be tried at its next start.

        What is there of it already, from an update that was cut, is not sent again. The model that
        runs goes on running, from its first state.

        Args:
            data: an update (`signing.make_update`).
            page: what the flash erases at once (`Stored.page`).
            progress: called with the number of bytes that are there since its last call.

        Raises:
            ModelError: the board refuses it, and why.
            DeviceError: the link failed.
        """
        self._order(protocol.UPDATE_BEGIN, data[: signing.IMAGE_AT])
        there = self._prefix(data, page)
        progress(there)
        piece = min(MODEL_PIECE, (self.info.payload_limit - 4) // UPDATE_UNIT * UPDATE_UNIT)
        self._send_pieces(protocol.UPDATE_DATA, data, there, piece, UPDATE_UNIT, progress)
        self.model = None
        self._order(protocol.UPDATE_END, timeout=UPDATE_END_TIMEOUT)

    def _prefix(self, data: bytes, page: int) -> int:
        """Bytes of an update that are on the board already, in whole pages."""
        first, last = 0, len(data) // page
        while first < last:
            middle = (first + last + 1) // 2
            size = middle * page
            status = Status.unpack(
                self._ask(protocol.UPDATE_PREFIX, struct.pack("<I", size)).payload
            )
            if status.there == zlib.crc32(data[:size]):
                first = middle
            else:
                last = middle - 1
        return first * page

    def confirm(self) -> None:
        """The model on trial is good: the board keeps it.

        Raises:
            ModelError: the board's flash fails.
            DeviceError: the link failed.
        """
        self._order(protocol.CONFIRM)

    def restart(self) -> None:
        """Start the board anew and wait until it answers; what it held in RAM is gone.

        Raises:
            DeviceError: the link failed, or the board does not come back.
        """
        with contextlib.suppress(StateLostError):  # its answer was lost, and it has restarted
            self._order(protocol.RESTART)
        self.model = None
        end = time.monotonic() + RESTART_TIMEOUT
        while True:
            self._early.clear()
            try:
                info = self._hello()
                if info is not None:
                    self.info = info
                    return
            except (DeviceError, MissingError):  # some links go with the board
                if self._reopen is None:
                    raise
                with contextlib.suppress(DeviceError, MissingError):
                    self._change(self._reopen())
                time.sleep(0.2)
            if time.monotonic() > end:
                raise self._silence()

    def models(self) -> Models:
        """The models that the board holds, and which is loaded.

        Raises:
            DeviceError: the link failed.
        """
        return Models.unpack(self._ask(protocol.LIST).payload)

    def select(self, slot: int, model: blob.Model) -> None:
        """Load a model that the board holds; it is then in its first state.

        Args:
            slot: its number in `models`.
            model: what it is; nothing is sent of it, but its length and CRC-32 must be the slot's.

        Raises:
            ModelError: the slot is empty or holds another model, or the board refuses it.
            DeviceError: the link failed.
        """
        slots = self.models().slots
        if not 0 <= slot < len(slots) or slots[slot] != Slot.of(model.image):
            there = "is empty" if slot >= len(slots) else "holds another model"
            raise ModelError(
                f"slot {slot} of board {self.info.name} {there}: put the model on it first"
            )
        self.model = None
        self._order(protocol.SELECT, bytes([slot]))
        self._took(model)

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

    def counters(self) -> Counters:
        """What the board has counted since it was started.

        Raises:
            DeviceError: the link failed.
        """
        return Counters.unpack(self._ask(protocol.COUNT).payload)

    def samples(self, first: int) -> Samples:
        """What the board's own sensor took; not while frames are `under_way`.

        Args:
            first: number of the first sample that is wanted, modulo 2**32. The board keeps the last
                few: of older ones it gives the oldest that it has.

        Raises:
            ModelError: the board has no sensor.
            DeviceError: the link failed.
        """
        return Samples.unpack(self._fetch(protocol.SENSE, struct.pack("<I", first & 0xFFFFFFFF)))

    @property
    def under_way(self) -> bool:
        """Whether a stream has sent frames that are not answered yet."""
        return self._flight is not None and bool(self._flight.under_way)

    def begin_evolution(self, recipe: bytes, state_bytes: int, kept: bytes, slot: int) -> None:
        """Send what is to be evolved; `run_evolution` then begins it, or goes on.

        Args:
            recipe: `edgesnn.blimp.evolution.Recipe.pack`.
            state_bytes: room for its state.
            kept: a state of the same recipe to go on from, or nothing.
            slot: of the model that is evolved; where it is selected, it no longer is.

        Raises:
            ModelError: the slot is empty, or the board has too little memory.
            DeviceError: the link failed.
        """
        begin = struct.pack("<IIB", len(recipe), state_bytes, slot)
        self._order(protocol.EVO_BEGIN, begin)
        piece = min(MODEL_PIECE, self.info.payload_limit - 4)
        whole = recipe + bytes(-len(recipe) % 4) + kept
        for offset in range(0, len(whole), piece):
            data = struct.pack("<I", offset) + whole[offset : offset + piece]
            self._order(protocol.EVO_DATA, data)

    def run_evolution(self, ticks: int, generation: int) -> Progress:
        """Run the evolution on, by at most so many steps of the network or to a generation's end.

        Args:
            ticks: bounds the time for which the board is busy.
            generation: the last one that is known here; where the board is further, its answer was
                lost, and it only answers again.

        Raises:
            ModelError: there is none, or the board refuses its recipe.
            DeviceError: the link failed.
        """
        asked = struct.pack("<II", ticks, generation)
        return Progress.unpack(self._fetch(protocol.EVO_RUN, asked))

    def evolution_state(self, state_bytes: int) -> bytes:
        """The state of the evolution, as it is kept for `begin_evolution`.

        Raises:
            ModelError: there is none, or it is smaller.
            DeviceError: the link failed.
        """
        piece = min(MODEL_PIECE, self.info.payload_limit - 4)
        parts = []
        for offset in range(0, state_bytes, piece):
            wanted = struct.pack("<II", offset, min(piece, state_bytes - offset))
            parts.append(self._fetch(protocol.EVO_READ, wanted)[4:])
        return b"".join(parts)

    def subscribe(self, what: str, population: str | None = None) -> None:
        """Have every answer bring the spikes or the potentials of a population as well.

        They come as `Result.subscribed`: of "spikes" the indices of the neurons that spiked, '<u2',
        ascending; of "potentials" the membrane of every neuron, '<i4'.

        Args:
            what: "spikes", "potentials" or "nothing".
            population: its name in the model's graph; not the input.

        Raises:
            ModelError: there is no model on the board or no such population, or the answers would
                not fit into a packet.
            DeviceError: the link failed.
        """
        if self.model is None:
            raise ModelError("there is no model on the board: put one on it first")
        if what not in SUBSCRIPTIONS:
            raise ModelError(f"'{what}' cannot be subscribed to: {', '.join(SUBSCRIPTIONS)} can")
        graph = self.model.graph
        names = [p.name for p in graph.populations]
        if what != "nothing" and population not in names:
            raise ModelError(
                f"the model has no population '{population}': there is {', '.join(names)}"
            )
        number = 0 if population not in names else 1 + names.index(population)
        self._order(protocol.SUBSCRIBE, struct.pack("<BxH", SUBSCRIPTIONS[what], number))
        width = {"nothing": 0, "spikes": 2, "potentials": 4}[what]
        self._subscribed = width * (graph.size(population) if population in names else 0)

    def stream(
        self,
        source: Source,
        *,
        period: float = 0.0,
        timeout: float = RETRY_AFTER,
        resend: bool = True,
        before_send: Callable[[Sequence[tuple[int, Frame]]], None] = lambda frames: None,
    ) -> Generator[Answer, None, None]:
        """Step the model through the frames of a source.

        Args:
            source: frames, quantised (`Source`). An array is stamped with `period`, or with the
                model's own where that is 0.
            period: seconds from frame to frame, for a stream in real time; 0 sends as fast as the
                board takes it.
            timeout: seconds without any answer after which the board is asked what it has taken.
            resend: send again what did not reach the board; False counts it as missed and goes on,
                for sources whose frames are worth nothing when they come late.
            before_send: called with (number, frame) of frames that are about to be sent for the
                first time.

        Yields:
            an `Answer` for each frame, in order.

        Raises:
            ModelError: there is no model on the board, the frames have another width than its
                input, or it refuses one.
            DeviceError: the link failed, or the board went silent for good; every frame that was
                sent has been yielded before.
        """
        for answers in self.stream_in_batches(
            source, period=period, timeout=timeout, resend=resend, before_send=before_send
        ):
            yield from answers

    def stream_in_batches(
        self,
        source: Source,
        *,
        period: float = 0.0,
        timeout: float = RETRY_AFTER,
        resend: bool = True,
        before_send: Callable[[Sequence[tuple[int, Frame]]], None] = lambda frames: None,
    ) -> Generator[list[Answer], None, None]:
        """As `stream`, with the answers that come together in one list, empty while none come."""
        if self.model is None:
            raise ModelError("there is no model on the board: put one on it first")
        frames = self.frames_of(source, period) if isinstance(source, np.ndarray) else iter(source)
        if self._left_early:
            self._meet()
        self._flight = flight = _Flight(self.info.window, self.model, self._subscribed)
        try:
            feed = _Feed(frames, period)
            yield from self._exchange(feed, flight, timeout, resend, before_send)
        except DeviceError:
            yield flight.give_up()
            raise
        finally:
            self._left_early = bool(flight.under_way)

    def frames_of(self, array: Int16Array, period: float = 0.0) -> Iterator[Frame]:
        """Frames (steps, channels) int16 with time stamps, `period` seconds apart (0: the model's).

        Raises:
            ModelError: there is no model, or the frames have another width than its input.
        """
        if self.model is None:
            raise ModelError("there is no model on the board: put one on it first")
        size = self.model.graph.input.size
        if array.ndim != 2 or array.shape[1] != size:
            raise ModelError(
                f"the frames have shape {array.shape}, the model takes (steps, {size})"
            )
        step_us = period * 1e6 or self.model.graph.step_us
        return (Frame(values, int(n * step_us)) for n, values in enumerate(array))

    def _exchange(
        self,
        feed: _Feed,
        flight: _Flight,
        timeout: float,
        resend: bool,
        before_send: Callable[[Sequence[tuple[int, Frame]]], None],
    ) -> Iterator[list[Answer]]:
        heard = time.monotonic()
        fruitless = 0
        while True:
            self._take(feed, flight, before_send)
            if feed.ended and flight.empty():
                return
            try:
                self._send(flight.departing(self._sequence, time.monotonic()))
                self._sequence = flight.last(self._sequence)
                packets = self._receive_all(feed.wait(timeout))
                if packets:
                    heard = time.monotonic()
                answers = self._read(flight, packets, heard)
                asked = flight.gap or (flight.under_way and flight.waited(heard) >= timeout)
                if asked:
                    self._meet()
            except DeviceError as error:
                if self._reopen is None or isinstance(error, StateLostError):
                    raise
                packets, answers = [], []
                self._reconnect(self._reopen)
                asked = True
            if asked:
                heard = time.monotonic()
                answers += self._read(flight, self._take_early(), heard)
                answers += flight.settle(self.info.last, resend)
                fruitless = 0 if answers else fruitless + 1
                if fruitless == RESEND_TRIES:
                    raise self._stuck()
            elif answers:
                fruitless = 0
            if answers or not packets:
                yield answers

    def _take(
        self,
        feed: _Feed,
        flight: _Flight,
        before_send: Callable[[Sequence[tuple[int, Frame]]], None],
    ) -> None:
        """Take from the source what may be sent soon."""
        fresh = []
        while not flight.full() and (frame := feed.due()) is not None:
            flight.add(feed.taken - 1, self._payload(frame))
            fresh.append((feed.taken - 1, frame))
        if fresh:
            before_send(fresh)

    def _read(self, flight: _Flight, packets: Iterable[Packet], heard: float) -> list[Answer]:
        """What packets from the board say of the frames under way."""
        answers: list[Answer] = []
        for packet in packets:
            if not flight.holds(packet.sequence):
                continue
            if packet.type == protocol.RESULT:
                answers += flight.answered(packet.sequence, Result.unpack(packet.payload), heard)
            elif packet.type == protocol.STATUS:
                status = Status.unpack(packet.payload)
                if status.code == protocol.ERR_GAP:
                    flight.gap = True
                elif status.code in (protocol.ERR_GREETING, protocol.ERR_NO_MODEL):
                    raise self._forgot()
                else:
                    refused = flight.refused(packet.sequence)
                    raise ModelError(
                        f"board {self.info.name} refuses frame {refused}: {status.text()}"
                    )
        return answers

    def _payload(self, frame: Frame) -> tuple[int, bytes]:
        assert self.model is not None
        entry = self.model.graph.input
        if frame.values.shape != (entry.size,):
            raise ModelError(
                f"a frame has shape {frame.values.shape}, the model takes ({entry.size},)"
            )
        stamp = protocol.STAMP.pack(frame.time_us & 0xFFFFFFFF)
        if isinstance(entry, SpikeInput):
            events = np.flatnonzero(frame.values).astype("<u2")
            return protocol.EVENTS, stamp + events.tobytes()
        return protocol.FRAME, stamp + frame.values.astype("<i2").tobytes()

    def _send(self, packets: bytes) -> None:
        if packets:  # the delimiter ends whatever noise came before
            self._transport.write(b"\0" + packets)

    def _receive(self, timeout: float) -> Packet | None:
        """The next packet from the board, None after `timeout` seconds of silence."""
        end = time.monotonic() + timeout
        while not self._waiting:
            left = end - time.monotonic()
            packets = self._decoder.feed(self._transport.read(max(0.0, left)))
            # a link that echoes brings our own requests back
            self._waiting.extend(p for p in packets if p.type >= protocol.STATUS)
            if not self._waiting and left <= 0:
                return None
        return self._waiting.popleft()

    def _receive_all(self, timeout: float) -> list[Packet]:
        """All packets that are there, waiting up to `timeout` seconds for a first one."""
        first = self._receive(timeout)
        if first is None:
            return []
        packets = [first, *self._waiting]
        self._waiting.clear()
        return packets

    def _ask(self, kind: int, payload: bytes = b"", timeout: float = RETRY_AFTER) -> Packet:
        """The board's answer to a request, which may be run twice where an answer is lost."""
        for _ in range(TRIES):
            packet = self._try(kind, payload, timeout)
            if packet is not None:
                return packet
        raise self._silence()

    def _try(self, kind: int, payload: bytes, timeout: float = RETRY_AFTER) -> Packet | None:
        """The board's answer to a request, None if that or the request was lost."""
        if self._left_early:
            self._meet()
            self._left_early = False
        self._sequence = number = (self._sequence + 1) & 0xFFFF
        self._send(encode(Packet(kind, number, payload)))
        end = time.monotonic() + timeout
        while (packet := self._receive(max(0.0, end - time.monotonic()))) is not None:
            if packet.sequence == number and packet.type != protocol.INFO:
                return packet
        self._meet()
        return next((early for early in self._take_early() if early.sequence == number), None)

    def _order(self, kind: int, payload: bytes = b"", timeout: float = RETRY_AFTER) -> None:
        self._expect_done(kind, Status.unpack(self._ask(kind, payload, timeout).payload))

    def _fetch(self, kind: int, payload: bytes = b"") -> bytes:
        """The payload of the answer to a request that a board refuses by a STATUS."""
        answer = self._ask(kind, payload)
        if answer.type == protocol.STATUS:
            self._expect_done(kind, Status.unpack(answer.payload))
        return answer.payload

    def _expect_done(self, kind: int, status: Status) -> None:
        if status.code == protocol.ERR_GREETING:
            raise self._forgot()
        if status.code != 0:
            what = " the model" if kind in MODEL_PACKETS else ""
            raise ModelError(f"board {self.info.name} refuses{what}: {status.text()}")

    def _took(self, model: blob.Model) -> None:
        self.model = model
        self._subscribed = 0

    def _hello(self) -> Info | None:
        """What the board says of itself, None if it does not answer.

        Its answer proves that nothing is under way any more in either direction; what came before
        it is kept for `_take_early`.
        """
        payload = protocol.hello(self._token)
        for attempt in range(TRIES):
            self._greetings = number = (self._greetings + 1) & 0xFFFF
            self._send(encode(Packet(protocol.HELLO, number, payload)))
            # short at first, for bad links, and longer for boards in the middle of a long step
            patience = TRIES * HELLO_TIMEOUT * 2**attempt / (2**TRIES - 1)
            end = time.monotonic() + patience
            while (packet := self._receive(max(0.0, end - time.monotonic()))) is not None:
                if packet.type != protocol.INFO:
                    self._early.append(packet)
                elif packet.sequence == number:
                    info = Info.unpack(packet.payload)
                    self._sequence = info.last
                    return info
                if time.monotonic() > end:
                    break
        return None

    def _take_early(self) -> list[Packet]:
        early, self._early = self._early, []
        return early

    def _meet(self) -> None:
        """Find out what the board has taken; its numbers go on from there."""
        self._early.clear()
        info = self._hello()
        if info is None:
            raise self._silence()
        if not info.resumed:
            raise self._forgot()
        self.info = info

    def _reconnect(self, reopen: Callable[[], Transport]) -> None:
        end = time.monotonic() + RECONNECT_FOR
        while True:
            try:
                self.resume(reopen())
                return
            except StateLostError:
                raise
            except (DeviceError, MissingError):  # an unplugged port is not there at all
                if time.monotonic() > end:
                    raise
            time.sleep(0.2)

    def _silence(self) -> DeviceError:
        return DeviceError(
            f"board {self.info.name} does not answer any more: check the link and start over"
        )

    def _stuck(self) -> DeviceError:
        return DeviceError(
            f"board {self.info.name} answers, but the next frame does not get through to it: check "
            "the cable, and that nothing on the link takes bytes for flow control"
        )

    def _forgot(self) -> StateLostError:
        return StateLostError(
            f"board {self.info.name} was started anew, or another program used it, and what it "
            "held is gone: start over"
        )


class _Feed:
    """The frames of a source, each when it is due."""

    def __init__(self, frames: Iterator[Frame | None], period: float) -> None:
        self.ended = False
        self.taken = 0
        self._frames = frames
        self._period = period
        self._start = time.monotonic()
        self._ready = True

    def due(self) -> Frame | None:
        """The next frame, None where there is none, or none yet."""
        if self.ended or (self._period and time.monotonic() < self._next()):
            return None
        try:
            frame = next(self._frames)
        except StopIteration:
            self.ended = True
            return None
        self._ready = frame is not None
        self.taken += self._ready
        return frame

    def wait(self, timeout: float) -> float:
        """Seconds until there may be something to do other than reading, at most `timeout`."""
        if self.ended:
            return timeout
        if not self._ready:
            return min(timeout, POLL)
        if self._period:
            return min(timeout, max(0.0, self._next() - time.monotonic()))
        return timeout

    def _next(self) -> float:
        return self._start + self.taken * self._period


@dataclass
class _Sent:
    """A frame on its way, and again whenever it has to be sent again."""

    number: int
    kind: int
    payload: bytes
    sequence: int = 0
    bytes: int = 0
    at: float = 0.0


class _Flight:
    """Frames to send, and frames sent and not answered: what the credit of the board's window lets
    go, and what its answers say. No I/O.

    Both directions are bounded by the window, so that neither side can block the other and nothing
    overruns a receiver. There is always room for a greeting.
    """

    def __init__(self, window: int, model: blob.Model, subscribed: int) -> None:
        graph = model.graph
        scores = graph.size(graph.readout.population)
        answer = packet_bytes(protocol.result_bytes(scores) + subscribed)
        self.to_send: deque[_Sent] = deque()
        self.under_way: deque[_Sent] = deque()
        self.gap = False  # the board has refused one because one before it did not come
        self._credit = window - TRIES * (1 + packet_bytes(protocol.HELLO_BYTES))
        self._most = max(1, window // answer)
        self._used = 0
        self._sequences: set[int] = set()

    def full(self) -> bool:
        """Whether as many frames as can be under way have been taken in."""
        return len(self.to_send) + len(self.under_way) >= self._most

    def empty(self) -> bool:
        """Whether nothing is left to be sent or answered."""
        return not self.to_send and not self.under_way

    def add(self, number: int, payload: tuple[int, bytes]) -> None:
        """Take a frame in, as the type and the payload of its packet."""
        self.to_send.append(_Sent(number, *payload))

    def departing(self, sequence: int, now: float) -> bytes:
        """The packets of the frames that may go now; `sequence` is the last number used."""
        wires: list[bytes] = []
        while self.to_send and len(self.under_way) < self._most:
            frame = self.to_send[0]
            sequence = (sequence + 1) & 0xFFFF
            wire = encode(Packet(frame.kind, sequence, frame.payload))
            size = len(wire) + (not wires)  # a delimiter goes before them
            if self.under_way and self._used + size > self._credit:
                break
            self.to_send.popleft()
            frame.sequence, frame.bytes, frame.at = sequence, size, now
            self.under_way.append(frame)
            self._sequences.add(sequence)
            self._used += size
            wires.append(wire)
        return b"".join(wires)

    def last(self, sequence: int) -> int:
        """The number that was used last."""
        return self.under_way[-1].sequence if self.under_way else sequence

    def holds(self, sequence: int) -> bool:
        """Whether a frame with that sequence number is under way."""
        return sequence in self._sequences

    def answered(self, sequence: int, result: Result, heard: float) -> list[Answer]:
        """The frame was answered: those before it were run, too, and their answers are lost."""
        answers = []
        while True:
            frame = self._land()
            if frame.sequence == sequence:
                answers.append(Answer(frame.number, result, heard - frame.at))
                return answers
            answers.append(Answer(frame.number, None, fate=Fate.LOST))

    def refused(self, sequence: int) -> int:
        """The number of the frame that the board refuses; it and those before are not under way."""
        while (frame := self._land()).sequence != sequence:
            pass
        return frame.number

    def settle(self, last: int, resend: bool) -> list[Answer]:
        """Nothing is under way any more, and the board has taken packets up to `last`."""
        answers = []
        back = []
        while self.under_way:
            frame = self._land()
            if (last - frame.sequence) & 0xFFFF < 0x8000:
                answers.append(Answer(frame.number, None, fate=Fate.LOST))
            elif resend:
                back.append(frame)
            else:
                answers.append(Answer(frame.number, None, fate=Fate.MISSED))
        self.to_send.extendleft(reversed(back))
        self.gap = False
        return answers

    def waited(self, heard: float) -> float:
        """Seconds for which the oldest frame has waited, or no answer has come if that is less."""
        return time.monotonic() - max(heard, self.under_way[0].at)

    def give_up(self) -> list[Answer]:
        """The link is gone: nobody knows what became of the frames under way."""
        answers = []
        while self.under_way:
            answers.append(Answer(self._land().number, None, fate=Fate.UNKNOWN))
        # what was to be sent again: the board has told that it did not come
        again = [frame.number for frame in self.to_send if frame.at]
        return answers + [Answer(number, None, fate=Fate.MISSED) for number in again]

    def _land(self) -> _Sent:
        frame = self.under_way.popleft()
        self._sequences.discard(frame.sequence)
        self._used -= frame.bytes
        return frame
