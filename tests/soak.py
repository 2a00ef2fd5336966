"""Long runs: frames by the million, bad links, and hosts that are killed (`make soak`).

Every run counts what it did and stops at the first thing that must not be; tests/test_soak.py runs
the same with small numbers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from ctypes import c_int, c_longlong
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from links import Faults, Noise, NoisyLink

from edgesnn import blob, reference, runtime
from edgesnn.devices import Answer, Board, Fate, Frame, open_transport
from edgesnn.devices.backend import board_url
from edgesnn.devices.log import LogWriter, read
from edgesnn.devices.packet import Decoder, Packet, encode
from edgesnn.devices.qemu import QemuTransport
from edgesnn.devices.record import record, replay
from edgesnn.devices.virtual import VirtualTransport
from edgesnn.graph import (
    LIF,
    AnalogInput,
    Dense,
    Graph,
    Int16Array,
    Potential,
    PotentialMode,
)
from edgesnn.terminal import progress_bar

CHANNELS = 3
RECORDING = 1000
BIT_FLIPS = 1e-4
BAD = Faults(flip=8 * BIT_FLIPS, drop=1e-4, duplicate=1e-4, insert=1e-4)
PATIENCE = 0.1


def model() -> blob.Model:
    """A network whose answer to a frame depends on every frame before."""
    rng = np.random.default_rng(1)
    out = LIF(
        "out",
        decay=np.array([30000], np.uint16),
        threshold=rng.integers(100, 900, 5).astype(np.int32),
        bias=np.zeros(5, np.int32),
    )
    weights = rng.integers(-9, 9, (5, CHANNELS)).astype(np.int8)
    graph = Graph(
        AnalogInput("input", np.zeros(CHANNELS, np.int8)),
        (out,),
        (Dense("input", "out", weights),),
        Potential("out", PotentialMode.SUM),
    )
    golden = frames_of(0, 4)
    return blob.unpack(blob.pack(reference.with_selftest(graph, golden)))


MODEL_SEED = 7


def frames_of(recording: int, steps: int) -> Int16Array:
    """(steps, CHANNELS) of a recording, the same every time."""
    rng = np.random.default_rng([MODEL_SEED, recording])
    return rng.integers(-300, 300, (steps, CHANNELS)).astype(np.int16)


@dataclass
class Tally:
    """What became of frames.

    Attributes:
        frames: that were given to the board.
        answered: of them.
        lost: (recording, frame) of the others.
        damaged: bytes that the link harmed.
        seconds: that it took.
    """

    frames: int = 0
    answered: int = 0
    lost: list[tuple[int, int]] = field(default_factory=list)
    damaged: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        harmed = f", {self.damaged:,} bytes harmed" if self.damaged else ""
        return (
            f"{self.frames:,} frames, {self.answered:,} answered, {len(self.lost):,} lost with "
            f"their numbers{harmed}, {self.frames / self.seconds:,.0f} frames/s"
        )


def check(answers: list[Answer], recording: int, frames: Int16Array, tally: Tally) -> None:
    """Every frame of a recording has one fate, and every answer is the core's."""
    assert [answer.number for answer in answers] == list(range(len(frames)))
    core = runtime.run(MODEL.image, frames[np.newaxis], threads=1)
    for answer, digest, label in zip(answers, core.digests[0], core.step_labels[0], strict=True):
        if answer.result is None:
            assert answer.fate is Fate.LOST, answer  # the board ran it, as it ran all others
            tally.lost.append((recording, answer.number))
        else:
            assert answer.result.digest == digest, answer
            assert answer.result.label == label, answer
            assert answer.result.step == answer.number + 1, answer
            tally.answered += 1
    tally.frames += len(frames)


MODEL = model()


def stream(
    name: str,
    count: int,
    faults: Faults | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> Tally:
    """Frames through a board, over its own link or over one that harms bytes."""
    tally = Tally()
    start = time.monotonic()
    link = NoisyLink(open_transport(board_url(name)), seed=count)
    with Board(link) as board:
        if faults is not None:
            link.to_board = link.to_host = faults
        board.put_model(MODEL)
        for recording in range(-(-count // RECORDING)):
            frames = frames_of(recording, min(RECORDING, count - recording * RECORDING))
            board.reset()
            answers = list(board.stream(frames, timeout=PATIENCE))
            check(answers, recording, frames, tally)
            progress(len(frames))
    tally.damaged = link.damaged
    tally.seconds = time.monotonic() - start
    return tally


WATCH_HZ = 20
HOUR = 3600 * WATCH_HZ
DAY, WEEK = 24 * HOUR, 7 * 24 * HOUR
WATCH_SEED = 20
FLAT = 1 << 20
"""Bytes by which a process may have grown between an hour, or a tenth, and the end."""


def watch(hour: int) -> Int16Array:
    """(HOUR, CHANNELS) of a made-up accelerometer at a wrist, 100 to the g: where the arm hangs,
    noise, and minutes of rest, walking, running and blows that leave the range of the model."""
    rng = np.random.default_rng([WATCH_SEED, hour])
    minutes = HOUR // (60 * WATCH_HZ)
    seconds = np.arange(hour * HOUR, (hour + 1) * HOUR) / WATCH_HZ
    strength = np.repeat(rng.choice([0, 0, 30, 120, 3000], (minutes, 1)), 60 * WATCH_HZ, 0)
    pace = np.repeat(rng.uniform(1.5, 3.0, (minutes, 1)), 60 * WATCH_HZ, 0)
    arm = np.repeat(rng.normal(0, 1, (minutes, CHANNELS)), 60 * WATCH_HZ, 0)
    gravity = 100 * arm / np.linalg.norm(arm, axis=1, keepdims=True)
    phase = rng.uniform(0, 6, CHANNELS)
    gait = strength * np.sin(2 * np.pi * pace * seconds[:, np.newaxis] + phase)
    return np.rint(gravity + gait + rng.normal(0, 3, gait.shape)).astype(np.int16)


def resident(process: int) -> int:
    """Bytes of RAM that a process holds, by its id."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def wear(name: str, count: int, progress: Callable[[int], None] = lambda frames: None) -> str:
    """A watch's frames through a board without any reset.

    Every answer is compared with the reference's. Stamps pass 2^32 every 71 minutes. The memory
    of this process and of the board's is read after an hour, or a tenth of all, and at the end.
    """
    for hour in range(4):  # the allocator comes to keep what these take, 2 MiB, at the third
        watch(hour)
    expected: deque[tuple[int, int, int]] = deque()
    state = reference.State(MODEL.graph, 1)

    def frames() -> Iterator[Frame]:
        number = 0
        while number < count:
            for values in watch(number // HOUR)[: count - number]:
                state.step(values[np.newaxis])
                stamp = number * (1_000_000 // WATCH_HZ)
                label = int(np.argmax(state.scores[0]))
                expected.append((state.digest(0), label, stamp & 0xFFFFFFFF))
                yield Frame(values, stamp)
                number += 1

    start = time.monotonic()
    link = open_transport(board_url(name))
    assert isinstance(link, VirtualTransport | QemuTransport)
    processes = (os.getpid(), link.process_id)
    warm = min(HOUR, count // 10)
    before = [0, 0]
    with Board(link) as board:
        board.put_model(MODEL)
        for number, answer in enumerate(board.stream(frames())):
            result = answer.result
            assert result is not None, answer
            assert (result.digest, result.label, result.stamp) == expected.popleft(), answer
            assert result.step == number + 1, answer
            if number + 1 == warm:
                before = [resident(process) for process in processes]
            if number % 1000 == 999:
                progress(1000)
        counters = board.counters()
        after = [resident(process) for process in processes]
    assert not expected, "a frame has no answer"
    assert counters.steps == count, counters
    assert (counters.copies, counters.gaps, counters.refused, counters.bad) == (0, 0, 0, 0)
    grown = [b - a for a, b in zip(before, after, strict=True)]
    assert max(grown) <= FLAT, f"grown by {grown} bytes"
    rate = count / (time.monotonic() - start)
    held = ", ".join(
        f"{what} {a / 2**20:.1f} -> {b / 2**20:.1f} MiB"
        for what, a, b in zip(("host", "board"), before, after, strict=True)
    )
    return (
        f"{count:,} frames ({count / DAY:.3f} days), all answers equal to the reference's, {held}, "
        f"{rate:,.0f} frames/s"
    )


def resynchronise(count: int, seed: int = 0) -> str:
    """Packets over a link that harms bytes: one that is whole is received, unless it is the first
    behind one that is not."""
    rng = random.Random(seed)
    noise = Noise(seed)
    decoder = Decoder()
    whole_before = True
    lost = harmed = 0
    for number in range(count):
        sent = Packet(rng.randrange(256), number & 0xFFFF, rng.randbytes(rng.randrange(60)))
        wire = encode(sent)
        arrived = noise.damage(wire, BAD)
        received = decoder.feed(arrived)
        whole = arrived == wire
        assert all(packet == sent for packet in received), "a packet that nobody sent"
        if whole and whole_before:
            assert received == [sent], "a good packet behind a good one was not received"
        lost += whole and not received
        harmed += not whole
        whole_before = whole
    return f"{count:,} packets, {harmed:,} harmed, {lost:,} good ones lost right behind them"


def _record_for_ever(path: str, seen: c_longlong, up: c_int) -> None:
    """What is killed: a host that begins or goes on with a session, and tells what it has seen."""
    exists = Path(path).exists()
    log = LogWriter.go_on(path, MODEL) if exists else LogWriter.create(path, MODEL, source="soak")
    with Board(open_transport("virtual://")) as board:
        board.put_model(MODEL)
        log.board(board, "virtual://")
        up.value = 1
        done = {} if log.read is None else {r.number: r for r in log.read.recordings if r.complete}
        parent = multiprocessing.parent_process()
        assert parent is not None
        recording = -1
        while parent.is_alive():  # it must not outlive a soak that is stopped
            recording += 1
            if recording in done:
                continue
            number = 0
            for answers in record(board, log, recording, frames_of(recording, 200)):
                number += len(answers)
                seen.value = recording << 32 | number


def kills(count: int, folder: Path, progress: Callable[[int], None] = lambda kills: None) -> str:
    """Kill a recording host at random moments; its log opens, has all that it saw, and goes on."""
    rng = random.Random(count)
    path = folder / "killed.esnl"
    cuts = reproduced = 0
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["soak"])
    for _ in range(count):
        # without locks: a host that is killed in the middle of a write would hold them for ever
        seen = context.Value("q", 0, lock=False)
        up = context.Value("i", 0, lock=False)
        host = context.Process(target=_record_for_ever, args=(str(path), seen, up))
        host.start()
        early = rng.random() < 0.1  # before the stream begins
        while not early and not up.value and host.is_alive():
            time.sleep(0.001)
        time.sleep(rng.random() * 0.1)
        host.kill()
        host.join()
        assert host.exitcode == -9, "the host ended by itself"
        recording, number = seen.value >> 32, seen.value & 0xFFFFFFFF
        if not path.exists():
            continue
        log = read(path)
        cuts += log.cut_bytes > 0
        held = {r.number: r for r in log.recordings}
        for k in range(recording):
            assert held[k].complete, "a recording that was over is not whole"
        if number:
            fates = held[recording].fates[:number]
            assert len(fates) == number, "an answer that was seen is not in the log"
            assert (fates == Fate.ANSWERED).all(), "an answer that was seen is not in the log"
        for k, recorded in held.items():
            expected = frames_of(k, 200)[: len(recorded.frames)]
            assert np.array_equal(recorded.frames, expected), "other frames than were sent"
        if len(log.recordings) > 100:
            reproduced += _reproduce(path)
        progress(1)
    if path.exists():
        reproduced += _reproduce(path)
    return (
        f"{count:,} kills, {cuts:,} of them cut a record, all logs open and go on; "
        f"{reproduced:,} answers, all reproduced"
    )


def _reproduce(path: Path) -> int:
    """Run a log again, and remove it; the number of its answers."""
    log = read(path)
    done = replay(log)
    assert done.different == [], "an answer that the core does not give"
    assert done.answers == log.answered
    path.unlink()
    return done.answers


def main() -> None:
    """Run it all, by a budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=1.0, help="1: all of it; 0.01: a taste")
    parser.add_argument("--emulated", default="mps2-an386", help="board for the emulated runs")
    parser.add_argument("parts", nargs="*", help="words in the names of those to run; default: all")
    chosen = parser.parse_args()

    def share(count: int) -> int:
        return max(1, int(count * chosen.budget))

    emulated = chosen.emulated
    runs: tuple[tuple[str, int, Callable[[int, Callable[[int], None]], object]], ...] = (
        ("a week on the virtual board", WEEK, lambda n, p: wear("virtual", n, p)),
        (f"a day on the emulated {emulated}", DAY, lambda n, p: wear(emulated, n, p)),
        ("virtual board", 10_000_000, lambda n, p: stream("virtual", n, progress=p)),
        (f"emulated {emulated}", 100_000, lambda n, p: stream(emulated, n, progress=p)),
        ("virtual board, bad link", 500_000, lambda n, p: stream("virtual", n, BAD, p)),
        (f"{emulated}, bad link", 5_000, lambda n, p: stream(emulated, n, BAD, p)),
        ("resynchronising", 2_000_000, lambda n, p: resynchronise(n)),
        ("kill -9", 1_000, lambda n, p: _kills(n, p)),
    )
    for what, count, run in runs:
        if not any(part in what for part in chosen.parts or [""]):
            continue
        with progress_bar(what, share(count)) as advance:
            print(f"{what}: {run(share(count), advance)}", flush=True)


def _kills(count: int, progress: Callable[[int], None]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return kills(count, Path(folder), progress)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
