"""The session log (docs/session.md): one file that only grows, and what a cut leaves of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob
from edgesnn.devices.board import Answer, Board, Fate, Frame, Result
from edgesnn.errors import DeviceError, FormatError, MissingError
from edgesnn.graph import Int16Array

MAGIC = b"ESNL"
VERSION = 1
SESSION, MODEL, BOARD, RECORDING, FRAME, ANSWER, LOST, END, NOTE, CLOSED = range(1, 11)
SUFFIX = ".esnl"

_FILE = struct.Struct("<4sHxx")
_HEAD = struct.Struct("<I")
_CRC = struct.Struct("<I")
_RECORDING = struct.Struct("<Iq")
_FRAME = struct.Struct("<IIq")
_ANSWER = struct.Struct("<Iq")
_LOST = struct.Struct("<IBq")
_END = struct.Struct("<I")
_CLOSED = struct.Struct("<q")

__all__ = ["Log", "LogWriter", "Recording", "read"]


@dataclass
class Recording:
    """What followed one reset of the model.

    Attributes:
        number: of the recording in its source.
        complete: whether it was recorded to its end.
        frames: (steps, channels) int16, as they went to the board.
        stamps: (steps,) uint32, µs, the time stamps that went with them.
        sent_us: (steps,) int64, µs since 1970, just before each was sent.
        fates: (steps,) uint8 of `Fate`.
        received_us: (steps,) int64, µs since 1970; 0 where there is no answer.
        results: the answers, None where there is none.
    """

    number: int
    complete: bool
    frames: Int16Array
    stamps: npt.NDArray[np.uint32]
    sent_us: npt.NDArray[np.int64]
    fates: npt.NDArray[np.uint8]
    received_us: npt.NDArray[np.int64]
    results: list[Result | None]

    def answers(self) -> list[Answer]:
        """What became of each frame that was sent, in order."""
        seconds = (self.received_us - self.sent_us) / 1e6
        return [
            Answer(k, result, float(seconds[k]) if result else float("nan"), Fate(self.fates[k]))
            for k, result in enumerate(self.results)
            if self.fates[k] != Fate.WAITING
        ]


@dataclass(frozen=True)
class Log:
    """A session that was read.

    Attributes:
        session: the SESSION record.
        model: that ran on the board.
        boards: the BOARD records.
        notes: the NOTE records.
        recordings: in the order of their numbers in the file.
        closed: whether the session ended in order.
        bytes: length of what is whole; a writer goes on from there.
        cut_bytes: what a cut has left behind that.
    """

    session: dict[str, Any]
    model: blob.Model
    boards: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    recordings: list[Recording]
    closed: bool
    bytes: int
    cut_bytes: int

    @property
    def answered(self) -> int:
        """Frames with an answer."""
        return sum(int(np.sum(r.fates == Fate.ANSWERED)) for r in self.recordings)

    @property
    def lost(self) -> list[tuple[int, int]]:
        """(recording, frame) of every frame that was sent and has no answer."""
        return [
            (recording.number, int(k))
            for recording in self.recordings
            for k in np.flatnonzero(recording.fates > Fate.ANSWERED)
        ]


@dataclass
class _Open:
    """A recording while it is read: its FRAMEs, and by frame number the rest."""

    number: int
    complete: bool = False
    frames: list[bytes] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    sent_us: list[int] = field(default_factory=list)
    answers: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    lost: dict[int, int] = field(default_factory=dict)

    def close(self, channels: int) -> Recording:
        steps = len(self.frames)
        fates = np.full(steps, Fate.WAITING, np.uint8)
        received = np.zeros(steps, np.int64)
        results: list[Result | None] = [None] * steps
        for number, fate in self.lost.items():
            fates[number] = fate
        for number, (at, payload) in self.answers.items():
            fates[number], received[number] = Fate.ANSWERED, at
            results[number] = Result.unpack(payload)
        frames = np.frombuffer(b"".join(self.frames), "<i2").reshape(steps, channels)
        return Recording(
            self.number, self.complete, frames.astype(np.int16, copy=False),
            np.array(self.stamps, np.uint32), np.array(self.sent_us, np.int64), fates, received,
            results,
        )  # fmt: skip


def read(path: str | os.PathLike[str]) -> Log:
    """Read a session log, also one that was cut or is still being written.

    Raises:
        MissingError: no such file.
        FormatError: it is no session log, or it was damaged rather than cut; says where.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}; check the path") from None
    try:
        return _read(path, data)
    except (struct.error, ValueError, KeyError, IndexError, TypeError, DeviceError) as error:
        raise FormatError(
            f"{path} breaks the rules of a session log ({error}): record it again"
        ) from None


def _read(path: Path, data: bytes) -> Log:
    if data[:4] != MAGIC or len(data) < _FILE.size:
        raise FormatError(f"{path} is no session log: give a file that `edgesnn record` wrote")
    if (found := _FILE.unpack_from(data)[1]) != VERSION:
        raise FormatError(
            f"{path} is a session log of version {found}, this edgesnn reads {VERSION}: update it"
        )
    session: dict[str, Any] | None = None
    model: blob.Model | None = None
    boards: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    recordings: dict[int, _Open] = {}
    now: _Open | None = None
    closed = False
    whole = _FILE.size
    for end, kind, payload in _records(path, data):
        whole, closed = end, kind == CLOSED
        if kind == SESSION:
            session = json.loads(payload)
        elif kind == MODEL:
            model = blob.unpack(payload, f"the model in {path}")
        elif kind == BOARD:
            boards.append(json.loads(payload))
        elif kind == NOTE:
            notes.append(json.loads(payload))
        elif kind == RECORDING:
            number = _RECORDING.unpack(payload)[0]
            now = recordings.setdefault(number, _Open(number))
        elif kind in (FRAME, ANSWER, LOST, END):
            if now is None:
                raise ValueError(f"record {kind} before any recording")
            _into(now, kind, payload)
    if session is None or model is None:
        raise FormatError(f"{path} was cut before its model was whole: record it again")
    channels = model.graph.input.size
    done = [recording.close(channels) for recording in recordings.values()]
    return Log(session, model, boards, notes, done, closed, whole, len(data) - whole)


def _into(recording: _Open, kind: int, payload: bytes) -> None:
    if kind == FRAME:
        number, stamp, at = _FRAME.unpack_from(payload)
        if number != len(recording.frames):
            raise ValueError(f"frame {number} where {len(recording.frames)} is next")
        recording.frames.append(payload[_FRAME.size :])
        recording.stamps.append(stamp)
        recording.sent_us.append(at)
    elif kind == ANSWER:
        number, at = _ANSWER.unpack_from(payload)
        recording.answers[number] = at, payload[_ANSWER.size :]
    elif kind == LOST:
        number, cause, _ = _LOST.unpack(payload)
        recording.lost[number] = Fate(cause)
    else:
        recording.complete = True


def _records(path: Path, data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset of its end, type, payload) of every record that is whole."""
    at = _FILE.size
    while at < len(data):
        end = _end_of_record(data, at)
        if end is None:
            if any(_end_of_record(data, k) for k in range(at + 1, len(data) - 7)):
                raise FormatError(
                    f"{path} is damaged at byte {at}: whole records follow, so this is no cut; "
                    "restore the file from a copy"
                )
            return
        yield end, data[at], data[at + _HEAD.size : end - _CRC.size]
        at = end


def _end_of_record(data: bytes, at: int) -> int | None:
    """Where the record ends that starts there, None if there is no whole one."""
    if at + _HEAD.size + _CRC.size > len(data) or not SESSION <= data[at] <= CLOSED:
        return None
    tail = at + _HEAD.size + (_HEAD.unpack_from(data, at)[0] >> 8)
    if tail + _CRC.size > len(data):
        return None
    good = zlib.crc32(memoryview(data)[at:tail]) == _CRC.unpack_from(data, tail)[0]
    return tail + _CRC.size if good else None


class LogWriter:
    """A session log that is being written; every call leaves the file whole.

    Args:
        path: a new file for `create`, one that is there for `go_on`.

    Attributes:
        read: what was in the file when it was opened to go on; None for a new one.

    Raises:
        MissingError: the file cannot be written, there is one already (`create`) or none (`go_on`),
            or another program writes to it.
    """

    def __init__(self, path: Path, log: Log | None) -> None:
        self.path = path
        self.read = log
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise _cannot_write(path, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise MissingError(
                f"another program is recording to {path}: wait for its end, or choose another name"
            ) from None
        self._clock = _Clock()

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], model: blob.Model, *, source: str, period: float = 0.0
    ) -> LogWriter:
        """A new log.

        Args:
            path: no file may be there.
            model: that will run on the board.
            source: where the frames come from, for people.
            period: seconds from frame to frame; 0 as fast as the board takes them.
        """
        path = Path(path)
        session = {
            "edgesnn": version("edgesnn"),
            "created_us": _Clock().now_us(),
            "model_sha256": hashlib.sha256(model.image).hexdigest(),
            "period_us": round(period * 1e6),
            "source": source,
        }
        notes = blob.pack(model.graph, model.notes)[len(blob.pack_image(model.graph)) :]
        start = (
            _FILE.pack(MAGIC, VERSION)
            + _record(SESSION, json.dumps(session).encode())
            + _record(MODEL, model.image + notes)
        )
        # under its name there is never less than a model: a kill before that leaves nothing
        part = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            try:
                part.write_bytes(start)
                os.link(part, path)
            finally:
                part.unlink(missing_ok=True)
        except FileExistsError:
            raise MissingError(
                f"there is a file {path} already: choose another name, or go on with --resume"
            ) from None
        except OSError as error:
            raise _cannot_write(path, error) from None
        return cls(path, None)

    @classmethod
    def go_on(cls, path: str | os.PathLike[str]) -> LogWriter:
        """Go on with a log; what a cut has left of a record is removed.

        Raises:
            FormatError: it is no session log, or damaged.
        """
        log = cls(Path(path), read(path))
        assert log.read is not None
        os.ftruncate(log._file, log.read.bytes)
        return log

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def done(self, number: int) -> Recording | None:
        """The recording of that number, if the log held it to its end when it was opened."""
        known = [] if self.read is None else self.read.recordings
        return next((r for r in known if r.number == number and r.complete), None)

    def now_us(self) -> int:
        """µs since 1970 by this log's clock."""
        return self._clock.now_us()

    def board(self, board: Board, url: str) -> None:
        """A board was connected, and holds the model."""
        info = board.info
        self._json(
            BOARD,
            {"url": url, "name": info.name, "firmware": info.firmware, "protocol": info.version},
        )

    def note(self, event: str, **more: Any) -> None:
        """Something happened that people may want to know of; `more` is JSON-able."""
        self._json(NOTE, {"event": event, **more})

    def recording(self, number: int) -> None:
        """The model is in its first state; what follows belongs to this recording."""
        self._write(_record(RECORDING, _RECORDING.pack(number, self.now_us())))

    def frames(self, frames: Sequence[tuple[int, Frame]]) -> None:
        """(number, frame) of frames that are about to be sent."""
        now = self.now_us()
        self._write(
            b"".join(
                _record(
                    FRAME,
                    _FRAME.pack(number, frame.time_us & 0xFFFFFFFF, now)
                    + frame.values.astype("<i2").tobytes(),
                )
                for number, frame in frames
            )
        )

    def answers(self, answers: Iterable[Answer]) -> None:
        """Frames were answered or lost."""
        now = self.now_us()
        self._write(
            b"".join(
                _record(LOST, _LOST.pack(answer.number, answer.fate, now))
                if answer.result is None
                else _record(ANSWER, _ANSWER.pack(answer.number, now) + answer.result.pack())
                for answer in answers
            )
        )

    def end(self, frames: int) -> None:
        """The recording is complete."""
        self._write(_record(END, _END.pack(frames)))

    def closed(self) -> None:
        """The session ends in order."""
        self._write(_record(CLOSED, _CLOSED.pack(self.now_us())))

    def close(self) -> None:
        """Close the file, whether or not the session is over."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _json(self, kind: int, values: dict[str, Any]) -> None:
        self._write(_record(kind, json.dumps({"at_us": self.now_us(), **values}).encode()))

    def _write(self, data: bytes) -> None:
        """All of it in one call, so that a kill comes before it or behind it."""
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise MissingError(
                f"cannot write {self.path}: {error.strerror}; make room and go on with --resume"
            ) from None


class _Clock:
    """µs since 1970, steady from its start on, whatever is done to the wall clock meanwhile."""

    def __init__(self) -> None:
        self._offset_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        return self._offset_us + time.monotonic_ns() // 1000


def _cannot_write(path: Path, error: OSError) -> MissingError:
    return MissingError(f"cannot write {path}: {error.strerror}; choose another place")


def _record(kind: int, payload: bytes) -> bytes:
    body = _HEAD.pack(kind | len(payload) << 8) + payload
    return body + _CRC.pack(zlib.crc32(body))
