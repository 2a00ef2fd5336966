"""The session log (docs/session.md): one file that only grows, and what a cut leaves of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import struct
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from edgesnn import blob
from edgesnn.devices.board import Answer, Board, Fate, Frame, Result
from edgesnn.errors import DeviceError, FormatError, MissingError, ModelError
from edgesnn.graph import Int16Array

MAGIC = b"ESNL"
VERSION = 1
SESSION, MODEL, BOARD, RECORDING, FRAME, ANSWER, LOST, END, NOTE, CLOSED = range(1, 11)

_FILE = struct.Struct("<4sHxx")
_HEAD = struct.Struct("<I")
_CRC = struct.Struct("<I")
_RECORDING = struct.Struct("<Iq")
_FRAME = struct.Struct("<IIq")
_ANSWER = struct.Struct("<Iq")
_LOST = struct.Struct("<IBq")
_END = struct.Struct("<I")
_CLOSED = struct.Struct("<q")

Buffer: TypeAlias = bytes | mmap.mmap

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
        results: (steps,) the answers, None where there is none; unpacked from the file as they are
            asked for, so that a week of them takes no memory.
    """

    number: int
    complete: bool
    frames: Int16Array
    stamps: npt.NDArray[np.uint32]
    sent_us: npt.NDArray[np.int64]
    fates: npt.NDArray[np.uint8]
    received_us: npt.NDArray[np.int64]
    results: Sequence[Result | None]

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


class _Results(Sequence[Result | None]):
    """The RESULTs that lie in a file at (steps,) places; an empty place is none."""

    def __init__(self, data: Buffer, start: array[int], end: array[int]) -> None:
        self._data, self._start, self._end = data, start, end

    def __len__(self) -> int:
        return len(self._start)

    @overload
    def __getitem__(self, at: int) -> Result | None: ...
    @overload
    def __getitem__(self, at: slice) -> list[Result | None]: ...
    def __getitem__(self, at: int | slice) -> Result | list[Result | None] | None:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        start, end = self._start[at], self._end[at]
        return Result.unpack(self._data[start:end]) if end else None


class _Open:
    """A recording while it is read: where its frames and answers lie in the file."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.complete = False
        self._frames = array("Q")
        self._fates = array("B")
        self._received_us = array("q")
        self._start, self._end = array("Q"), array("Q")

    def take(self, kind: int, payload: bytes, at: int, channels: int) -> None:
        """A record of this recording, whose payload starts there in the file."""
        if kind == FRAME:
            if _FRAME.unpack_from(payload)[0] != len(self._frames):
                raise ValueError(f"another frame where {len(self._frames)} is next")
            if len(payload) != _FRAME.size + 2 * channels:
                raise ValueError(f"a frame that has not {channels} channels")
            self._frames.append(at)
            for column in (self._fates, self._received_us, self._start, self._end):
                column.append(0)
        elif kind == ANSWER:
            number, received_us = _ANSWER.unpack_from(payload)
            Result.check(payload[_ANSWER.size :])
            self._fates[number] = Fate.ANSWERED
            self._received_us[number] = received_us
            self._start[number], self._end[number] = at + _ANSWER.size, at + len(payload)
        elif kind == LOST:
            number, fate, _ = _LOST.unpack(payload)
            if not self._end[number]:
                self._fates[number] = Fate(fate)
        else:
            self.complete = True

    def close(self, data: Buffer, channels: int) -> Recording:
        frame = np.dtype([
            ("number", "<u4"), ("stamp", "<u4"), ("sent_us", "<i8"), ("values", "<i2", channels),
        ])  # fmt: skip
        frames = np.empty(len(self._frames), frame)
        for k, at in enumerate(self._frames):
            frames[k : k + 1] = np.frombuffer(data, frame, 1, at)
        return Recording(
            self.number, self.complete, np.ascontiguousarray(frames["values"], np.int16),
            frames["stamp"].astype(np.uint32), frames["sent_us"].astype(np.int64),
            np.array(self._fates, np.uint8), np.array(self._received_us, np.int64),
            _Results(data, self._start, self._end),
        )  # fmt: skip


def read(path: str | os.PathLike[str]) -> Log:
    """Read a session log, also one that was cut or is still being written.

    Raises:
        MissingError: no such file.
        FormatError: it is no session log, or it was damaged rather than cut; says where.
    """
    path = Path(path)
    data: Buffer = b""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise MissingError(f"cannot read {path}: {error.strerror}; check the path") from None
    try:
        return _read(path, data)
    except (struct.error, ValueError, KeyError, IndexError, TypeError, DeviceError) as error:
        raise FormatError(
            f"{path} breaks the rules of a session log ({error}): record it again"
        ) from None


def _read(path: Path, data: Buffer) -> Log:
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
            if now is None or model is None:
                raise ValueError(f"record {kind} before any recording")
            at = end - _CRC.size - len(payload)
            now.take(kind, payload, at, model.graph.input.size)
    if session is None or model is None:
        raise FormatError(f"{path} was cut before its model was whole: record it again")
    channels = model.graph.input.size
    done = [recording.close(data, channels) for recording in recordings.values()]
    return Log(session, model, boards, notes, done, closed, whole, len(data) - whole)


def _records(path: Path, data: Buffer) -> Iterator[tuple[int, int, bytes]]:
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


def _end_of_record(data: Buffer, at: int) -> int | None:
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
    def go_on(cls, path: str | os.PathLike[str], model: blob.Model) -> LogWriter:
        """Go on with a log; what a cut has left of a record is removed.

        Raises:
            FormatError: it is no session log, or damaged.
            ModelError: it was recorded with another model.
        """
        log = cls(Path(path), read(path))
        assert log.read is not None
        if log.read.model.image != model.image:
            log.close()
            raise ModelError(
                f"{path} was recorded with another model: give the one that it was begun with"
            )
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
