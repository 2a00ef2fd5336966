"""Messages of the stream protocol: the twin of `firmware/app/protocol.h`; see docs/protocol.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from edgesnn.errors import DeviceError
from edgesnn.graph import Int32Array
from edgesnn.runtime import status_text

VERSION = 2
HELLO, MODEL_BEGIN, MODEL_DATA, MODEL_END = 0x01, 0x02, 0x03, 0x04
RESET, FRAME, EVENTS, SELFTEST = 0x05, 0x06, 0x07, 0x08
SUBSCRIBE, LIST, SELECT, COUNT = 0x09, 0x0A, 0x0B, 0x0C
EVO_BEGIN, EVO_DATA, EVO_RUN, EVO_READ = 0x0D, 0x0E, 0x0F, 0x10
SENSE = 0x11
UPDATE_BEGIN, UPDATE_PREFIX, UPDATE_DATA, UPDATE_END = 0x12, 0x13, 0x14, 0x15
STORE, CONFIRM, RESTART = 0x16, 0x17, 0x18
STATUS, INFO, RESULT, MODELS, COUNTERS = 0x80, 0x81, 0x82, 0x83, 0x84
PROGRESS, PIECE, SAMPLES, STORED = 0x85, 0x86, 0x87, 0x88
MODEL_LOADED, RESUMED, DEVELOPMENT, HAS_STORE = 1, 2, 4, 8
STORED_RUNS, STORED_ON_TRIAL, STORED_WAITS = 1, 2, 4
NOTHING, SPIKES, POTENTIALS = 0, 1, 2
ERR_NO_MODEL, ERR_PACKET, ERR_TOO_LARGE, ERR_ORDER = -64, -65, -66, -67
ERR_SLOT, ERR_POPULATION, ERR_GREETING, ERR_GAP = -68, -69, -70, -71
ERR_RECIPE, ERR_SENSOR = -72, -73
ERR_SIGNATURE, ERR_DOWNGRADE, ERR_TARGET = -74, -75, -76
ERR_FLASH, ERR_TRIAL, ERR_NO_STORE = -77, -78, -79
ERR_ARENA = -9

_HELLO = struct.Struct("<BxxxI")
_STATUS = struct.Struct("<BbHII")
_INFO = struct.Struct("<BBHIIIHBxI")
_RESULT = struct.Struct("<HHIIIIIII")
_MODELS = struct.Struct("<Bxxx")
_MODEL = struct.Struct("<II")
_SAMPLES = struct.Struct("<IIIHH")
_COUNTERS = struct.Struct("<9I")
STAMP = struct.Struct("<I")
RESULT_BYTES = _RESULT.size
HELLO_BYTES = _HELLO.size
_STORED = struct.Struct("<IIIIIBxxx32s")
NO_SLOT, STORED_SLOT = 255, 254

_WORDS = {
    ERR_NO_MODEL: "it holds no model",
    ERR_PACKET: "it does not know this packet, or its length is wrong",
    ERR_TOO_LARGE: "its frames or answers do not fit into a packet",
    ERR_ORDER: "a piece of the model came out of order",
    ERR_SLOT: "it has no such slot: list its models for those it has",
    ERR_POPULATION: "the population has no spikes, or no potentials, to give",
    ERR_GREETING: "it was started anew and has not been greeted since",
    ERR_GAP: "a packet before this one did not reach it",
    ERR_RECIPE: "the recipe of the evolution is damaged or not for this model",
    ERR_SENSOR: "it has no sensor of its own",
    ERR_SIGNATURE: "it takes only models that are signed with its key: give that one with --key",
    ERR_DOWNGRADE: "it runs a newer version: give a higher --version, or --allow-downgrade",
    ERR_TARGET: "the model was signed for another board",
    ERR_FLASH: "its flash does not keep what is written to it: it is worn out",
    ERR_TRIAL: "a model is on trial on it: restart the board",
    ERR_NO_STORE: "it keeps no model in flash",
}


def token_of(payload: bytes) -> int:
    """The token in the payload of HELLO. Raises DeviceError for another length."""
    return _unpack(_HELLO, payload, "HELLO")[1]


def hello(token: int) -> bytes:
    """The payload of HELLO; a board keeps count of one host, known by its token, 32 bits."""
    return _HELLO.pack(VERSION, token)


@dataclass(frozen=True)
class Status:
    """The verdict on a request; `needed` and `there` are bytes where the code is about memory."""

    request: int
    code: int
    needed: int
    there: int

    @classmethod
    def unpack(cls, payload: bytes) -> Status:
        """Raises DeviceError for a payload of another length."""
        request, code, _, needed, there = _unpack(_STATUS, payload, "STATUS")
        return cls(request, code, needed, there)

    def pack(self) -> bytes:
        """The payload that `unpack` takes."""
        return _STATUS.pack(self.request, self.code, 0, self.needed, self.there)

    def text(self) -> str:
        """The verdict in words."""
        words = _WORDS.get(self.code) or status_text(self.code)
        if self.code == ERR_TOO_LARGE and self.request == MODEL_BEGIN:
            words = "it does not fit into the board's memory"
        if self.code == ERR_TOO_LARGE and self.request == UPDATE_BEGIN:
            words = "it does not fit into a slot of the board's flash"
        if self.code in (ERR_TOO_LARGE, ERR_ARENA):
            words += f" ({self.needed} bytes needed, {self.there} there)"
        return words


@dataclass(frozen=True)
class Info:
    """What a board says of itself.

    Attributes:
        version: of the protocol.
        model_loaded: whether a model is ready to run.
        development: whether it takes models that nobody signed, or that anyone could have.
        has_store: whether it keeps models in flash.
        resumed: whether the board knew the host's token, and so has kept what it was told.
        payload_limit: longest payload it takes or gives, bytes.
        window: bytes that may be under way to it, unanswered.
        model_bytes, arena_bytes: room for images and for the state of one model.
        last: number of the last packet that it took.
        slots: models that it can hold at most.
        steps: of the model since its reset.
        name: of the board.
        firmware: version of the software on it.
    """

    version: int
    model_loaded: bool
    resumed: bool
    payload_limit: int
    window: int
    model_bytes: int
    arena_bytes: int
    last: int
    slots: int
    steps: int
    name: str
    firmware: str
    development: bool = False
    has_store: bool = False

    @classmethod
    def unpack(cls, payload: bytes) -> Info:
        """Raises DeviceError for a payload that is too short or another protocol version."""
        theirs = payload[0] if payload else 0
        if theirs != VERSION:
            old, do = (
                ("the firmware on it is older", "flash the current firmware")
                if theirs < VERSION
                else ("this edgesnn is older", "update edgesnn")
            )
            raise DeviceError(
                f"the board speaks protocol version {theirs}, this edgesnn speaks {VERSION}: "
                f"{old}, {do}"
            )
        fields = _unpack(_INFO, payload[: _INFO.size], "INFO")
        version, flags, limit, window, model, arena, last, slots, steps = fields
        text = payload[_INFO.size :].decode("ascii", "replace")
        name, _, firmware = text.rpartition(" ")
        return cls(
            version, bool(flags & MODEL_LOADED), bool(flags & RESUMED), limit, window, model,
            arena, last, slots, steps, name, firmware, bool(flags & DEVELOPMENT),
            bool(flags & HAS_STORE),
        )  # fmt: skip

    def pack(self) -> bytes:
        """The payload that `unpack` takes."""
        flags = MODEL_LOADED * self.model_loaded | RESUMED * self.resumed
        flags |= DEVELOPMENT * self.development | HAS_STORE * self.has_store
        return _INFO.pack(
            self.version, flags, self.payload_limit, self.window, self.model_bytes,
            self.arena_bytes, self.last, self.slots, self.steps,
        ) + f"{self.name} {self.firmware}".encode("ascii", "replace")  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What one step gave on a board.

    Attributes:
        label: index of the class with the highest score so far.
        step: steps since the last reset, this one included.
        spikes, synops, macs: of this step, as in `edgesnn.reference.Outputs`.
        digest: CRC-32 of this step's spikes and scores (`edgesnn.reference.digest`).
        micros: what the step took on the board, µs (0: it has no clock).
        stamp: time stamp of the frame, µs modulo 2**32.
        scores: (classes,) int32.
        subscribed: the bytes behind the scores: what was subscribed to (`Board.subscribe`).
    """

    label: int
    step: int
    spikes: int
    synops: int
    macs: int
    digest: int
    micros: int
    stamp: int
    scores: Int32Array
    subscribed: bytes = b""

    @classmethod
    def unpack(cls, payload: bytes) -> Result:
        """Raises DeviceError for a payload that is too short for its scores."""
        end = cls.check(payload)
        fields = _RESULT.unpack_from(payload)
        label, count, step, spikes, synops, macs, digest, micros, stamp = fields
        scores = np.frombuffer(payload, "<i4", count, RESULT_BYTES)
        return cls(label, step, spikes, synops, macs, digest, micros, stamp, scores, payload[end:])

    @staticmethod
    def check(payload: bytes) -> int:
        """Where the scores of a payload end.

        Raises:
            DeviceError: it is too short for them.
        """
        count = int.from_bytes(payload[2:4], "little")
        end = result_bytes(count)
        if len(payload) < end:
            raise DeviceError(
                f"the board sent RESULT with {len(payload)} bytes, not {end} for {count} scores: "
                "update it"
            )
        return end

    def pack(self) -> bytes:
        """The payload that `unpack` takes."""
        scores = self.scores.astype("<i4")
        return _RESULT.pack(
            self.label, len(scores), self.step, self.spikes, self.synops, self.macs, self.digest,
            self.micros, self.stamp,
        ) + scores.tobytes() + self.subscribed  # fmt: skip


@dataclass(frozen=True)
class Slot:
    """A model that a board holds: the bytes of its image, and the CRC-32 that stands in it."""

    image_bytes: int
    crc: int

    @classmethod
    def of(cls, image: bytes) -> Slot:
        """How a board lists an image (docs/format.md says where its CRC stands)."""
        return cls(len(image), int.from_bytes(image[12:16], "little"))


@dataclass(frozen=True)
class Models:
    """What a board holds.

    Attributes:
        selected: number of the slot whose model is loaded, `STORED_SLOT` for the one in flash; None
            if none is.
        slots: filled ones, from number 0.
    """

    selected: int | None
    slots: tuple[Slot, ...]

    @classmethod
    def unpack(cls, payload: bytes) -> Models:
        """Raises DeviceError for a payload that no list of models has."""
        (selected,) = _unpack(_MODELS, payload[: _MODELS.size], "MODELS")
        rest = payload[_MODELS.size :]
        if len(rest) % _MODEL.size:
            raise DeviceError(f"the board sent MODELS with {len(payload)} bytes: update it")
        slots = tuple(Slot(*fields) for fields in _MODEL.iter_unpack(rest))
        return cls(None if selected == NO_SLOT else selected, slots)

    def pack(self) -> bytes:
        """The payload that `unpack` takes."""
        selected = NO_SLOT if self.selected is None else self.selected
        models = [_MODEL.pack(slot.image_bytes, slot.crc) for slot in self.slots]
        return _MODELS.pack(selected) + b"".join(models)


@dataclass(frozen=True)
class Counters:
    """What a board has counted since it was started; each wraps at 2**32.

    Attributes:
        clock_us: the board's clock, µs (0: it has none).
        taken: packets that were run or refused.
        copies: packets dropped because their number had been taken before.
        gaps: packets refused because one before them did not come.
        refused: answers that said no.
        steps: of models.
        longest_step_us: µs.
        bad: damaged or oversized packets.
        overruns: bytes that came faster than they could be held back.
    """

    clock_us: int
    taken: int
    copies: int
    gaps: int
    refused: int
    steps: int
    longest_step_us: int
    bad: int
    overruns: int

    @classmethod
    def unpack(cls, payload: bytes) -> Counters:
        """Raises DeviceError for a payload of another length."""
        return cls(*_unpack(_COUNTERS, payload, "COUNTERS"))


@dataclass(frozen=True)
class Progress:
    """How far an evolution on a board is; losses in 1/65536, 2**32 - 1 where there is none yet.

    Attributes:
        ticks: steps of the network that were run for this request.
        finished: whether it is at its end.
        generation, validated: completed; the last one whose mean was validated.
        evaluations, windows: completed.
        loss, validation, best: of the last generation's best candidate, the last validated mean,
            the best mean.
        best_generation: whose mean is the best.
        test: of the best mean, at the end.
        winners: seeds of the last generation's winners, best first.
    """

    ticks: int
    finished: bool
    generation: int
    validated: int
    evaluations: int
    windows: int
    loss: int
    validation: int
    best: int
    best_generation: int
    test: int
    winners: tuple[int, ...]

    @classmethod
    def unpack(cls, payload: bytes) -> Progress:
        """Raises DeviceError for a payload of another length than its winners make."""
        count = int.from_bytes(payload[44:48], "little")
        layout = struct.Struct(f"<12I{min(count, 64)}I")
        fields = _unpack(layout, payload, "PROGRESS")
        ticks, phase, generation, validated, evaluations, windows = fields[:6]
        loss, validation, best, best_generation, test = fields[6:11]
        return cls(
            ticks, bool(phase), generation, validated, evaluations, windows, loss, validation, best,
            best_generation, test, fields[12:],
        )  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """What a board's own sensor took.

    Attributes:
        first: number of the first of these, counted since the board was started.
        taken: samples since then.
        period_us: from one to the next, as it is meant to be.
        channels: values in a sample.
        samples: of each, when it was taken by the board's clock, µs modulo 2**32, and its values,
            -32768 to 32767, in whatever the sensor counts.
    """

    first: int
    taken: int
    period_us: int
    channels: int
    samples: tuple[tuple[int, tuple[int, ...]], ...]

    @classmethod
    def unpack(cls, payload: bytes) -> Samples:
        """Raises DeviceError for a payload of another length than its samples make."""
        head = _unpack(_SAMPLES, payload[: _SAMPLES.size], "SAMPLES")
        first, taken, period, channels, n = head
        layout = struct.Struct(f"<I{channels}h")
        rest = payload[_SAMPLES.size :]
        if len(rest) != n * layout.size:
            raise DeviceError(f"the board sent SAMPLES with {len(payload)} bytes: update it")
        samples = tuple((time, tuple(values)) for time, *values in layout.iter_unpack(rest))
        return cls(first, taken, period, channels, samples)


@dataclass(frozen=True)
class Stored:
    """The model that a board keeps in flash, and what it would take in its place.

    Attributes:
        page: what the flash erases at once, bytes.
        room: for an image, bytes.
        version: that the model was signed as.
        model: length and CRC-32 of the model that runs from flash; None: none does.
        on_trial: it runs for the first time, and until the next start unless it is confirmed.
        waits: another one is tried at the next start.
        key: the public key that a model must be signed for.
    """

    page: int
    room: int
    version: int
    model: Slot | None
    on_trial: bool
    waits: bool
    key: bytes

    @classmethod
    def unpack(cls, payload: bytes) -> Stored:
        """Raises DeviceError for a payload of another length."""
        if len(payload) != _STORED.size:
            raise DeviceError(f"the board sent STORED with {len(payload)} bytes: update it")
        page, room, version, length, crc, flags, key = _STORED.unpack(payload)
        model = Slot(length, crc) if flags & STORED_RUNS else None
        on_trial, waits = bool(flags & STORED_ON_TRIAL), bool(flags & STORED_WAITS)
        return cls(page, room, version, model, on_trial, waits, key)

    def pack(self) -> bytes:
        """The payload that `unpack` takes."""
        model = self.model or Slot(0, 0)
        flags = STORED_RUNS * (self.model is not None)
        flags |= STORED_ON_TRIAL * self.on_trial | STORED_WAITS * self.waits
        return _STORED.pack(
            self.page, self.room, self.version, model.image_bytes, model.crc, flags, self.key
        )


def result_bytes(classes: int) -> int:
    """Payload of a RESULT with that many scores, bytes."""
    return RESULT_BYTES + 4 * classes


def _unpack(layout: struct.Struct, payload: bytes, what: str) -> tuple[int, ...]:
    if len(payload) != layout.size:
        raise DeviceError(
            f"the board sent {what} with {len(payload)} bytes, not {layout.size}: update it"
        )
    return layout.unpack(payload)
