"""Damaged files by the million, shown to everything in Python that reads bytes from elsewhere.

Part of `make fuzz`; tests/test_readers.py runs a taste. A reader may say an `EdgesnnError` and
nothing else: no other exception, no crash, no memory that the file does not hold, no hanging. A
worker that is stopped leaves the file that stopped it.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import graphs
import numpy as np
import test_sources
from scipy.io import wavfile

from edgesnn import blob, recordings, reference
from edgesnn.devices import log, open_transport, protocol
from edgesnn.devices.board import Board
from edgesnn.devices.log import LogWriter
from edgesnn.devices.packet import Decoder, Packet, encode
from edgesnn.devices.record import record, replay
from edgesnn.errors import EdgesnnError
from edgesnn.network import Network
from edgesnn.sources import Options, Source, read_description, sources

RUNS = 1_000_000
"""At a budget of 1, over all readers."""
MEMORY = 2 << 30
SECONDS = 20


@dataclass(frozen=True)
class Reader:
    """What reads a file, and a good one of its kind.

    Args:
        name: of the reader.
        file: name of the file, in a folder of its own with what belongs to it.
        read: reads it.
    """

    name: str
    file: Path
    read: Callable[[Path], object]


NAMED = dict(re.findall(r"^edgesnn convert (\S+) --source (\S+)", test_sources.PAGE, re.MULTILINE))
"""Of the files that do not say whose they are, the source."""


def read_and_run(source: Source, options: Options, path: Path) -> None:
    """What `edgesnn convert` does with a checkpoint first."""
    source.recognises(path)
    made = source.read(path, options)
    if isinstance(made, Network):
        made.run(np.zeros((1, 2, made.size(made.input_name))))


def source_readers(folder: Path) -> list[Reader]:
    """Every converter, on the checkpoint of tests/test_sources.py."""
    found = []
    for name, make in test_sources.MAKERS.items():
        own = folder / name
        own.mkdir()
        here = Path.cwd()
        os.chdir(own)  # some makers put a description beside it
        try:
            make(own / name)
        finally:
            os.chdir(here)
        whose = NAMED.get(name)
        source = next(
            s
            for s in sources().values()
            if s.name == whose or (not whose and s.recognises(own / name))
        )
        described = sorted(own.glob("*.json")) if source.described else []
        options = Options(description=read_description(described[0]) if described else {})
        read = functools.partial(read_and_run, source, options)
        found.append(Reader(f"{source.name} {name}", own / name, read))
    return found


def recording_readers(folder: Path) -> list[Reader]:
    """Every kind of recording."""
    rng = np.random.default_rng(0)
    signal_, files = rng.normal(0, 1, (20, 2)), {}
    rows = "".join(f"{k * 10},{a},{b}\n" for k, (a, b) in enumerate(signal_))
    files["r.csv"] = ("time [ms],x [g],y [g]\n" + rows).encode()
    files["r.txt"] = b"".join(b"1,Jogging,%d,0.1,0.2,0.3;\n" % (k * 10**7) for k in range(9))
    files["r.ts"] = (
        b"@univariate false\n@classLabel true a b\n@data\n1,2,3:4,5,6:a\n1,2,3:4,5,6:b\n"
    )
    files["r.arff"] = b"@relation x\n@attribute a numeric\n@attribute b numeric\n@data\n1,2\n3,4\n"
    held = io.BytesIO()
    np.save(held, signal_[np.newaxis])
    files["r.npy"] = held.getvalue()
    held = io.BytesIO()
    np.savez_compressed(held, signal=signal_[np.newaxis])
    files["r.npz"] = held.getvalue()
    held = io.BytesIO()
    wavfile.write(held, 8000, rng.integers(-99, 99, 50).astype(np.int16))
    files["r.wav"] = held.getvalue()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [Reader(f"recording {name}", folder / name, recordings.read) for name in files]


def own_readers(folder: Path) -> list[Reader]:
    """Models, session logs, and what comes over a link."""
    graph, frames = next(graphs.cases(1, samples=1, steps=4))
    blob.save(folder / "m.esnn", reference.with_selftest(graph, frames[0]), {"classes": ["a"]})
    model = blob.load(folder / "m.esnn")
    with Board(open_transport("virtual://")) as board:
        board.put_model(model)
        with LogWriter.create(folder / "s.esnl", model, source="x", period=0.0) as writer:
            writer.board(board, "virtual")
            for _ in record(board, writer, 0, frames[0]):
                pass
    packets = b"\0".join(
        encode(Packet(kind, 5, bytes(range(40)))) for kind in (0x80, 0x81, 0x82, 0x83, 0x84, 0x87)
    )
    (folder / "link").write_bytes(packets)

    def heard(path: Path) -> None:
        unpack = {
            protocol.STATUS: protocol.Status.unpack, protocol.INFO: protocol.Info.unpack,
            protocol.RESULT: protocol.Result.unpack, protocol.MODELS: protocol.Models.unpack,
            protocol.COUNTERS: protocol.Counters.unpack, protocol.SAMPLES: protocol.Samples.unpack,
            protocol.PROGRESS: protocol.Progress.unpack,
        }  # fmt: skip
        data = path.read_bytes()
        said = Decoder().feed(data)
        # as they are, too: a CRC keeps the decoder from ever seeing most of them
        said += [Packet(data[0], 0, data[k:]) for k in range(1, len(data), 7)]
        for packet in said:
            if packet.type in unpack:
                try:
                    unpack[packet.type](packet.payload)
                except EdgesnnError:
                    continue

    return [
        Reader("model", folder / "m.esnn", blob.load),
        Reader("session", folder / "s.esnl", lambda path: replay(log.read(path))),
        Reader("link", folder / "link", heard),
    ]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """The same with a few bytes changed, doubled, cut out or cut off."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        at = dice.randrange(len(changed))
        what = dice.randrange(8)
        if what < 3:
            changed[at] = dice.randrange(256)
        elif what == 3:
            changed[at] ^= 1 << dice.randrange(8)
        elif what == 4:
            word = dice.choice(
                (b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\1\0")
            )
            changed[at : at + len(word)] = word
        elif what == 5:
            del changed[at : at + dice.choice((1, 2, 8, 64))]
        elif what == 6:
            changed[at:at] = changed[at : at + dice.choice((1, 4, 32))]
        elif dice.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A file with faults, those of an archive mostly in its parts, under a right checksum."""
    if not data.startswith(b"PK") or dice.random() < 0.2:
        return mutated(data, dice)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        parts = old.infolist()
        hit = dice.choice(parts)
        for part in parts:
            content = old.read(part)
            new.writestr(part, mutated(content, dice) if part is hit else content)
    return out.getvalue()


def _hangs(*_: object) -> None:
    raise TimeoutError(f"not done within {SECONDS} s")


def worker(folder: Path, seed: int, runs: int) -> int:
    """Show `runs` files; 1 where something else than a refusal came of one."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    dice = random.Random(seed)
    # to look for plug-ins for every file takes longer than to read it
    recordings.entry_points = functools.cache(recordings.entry_points)  # type: ignore[attr-defined]
    readers = [*source_readers(folder), *recording_readers(folder), *own_readers(folder)]
    good = {reader.name: reader.file.read_bytes() for reader in readers}
    for reader in readers:
        reader.read(reader.file)
    signal.signal(signal.SIGALRM, _hangs)
    for done in range(runs):
        reader = readers[done % len(readers)]
        reader.file.write_bytes(damaged(good[reader.name], dice))
        (folder / "last").write_text(str(reader.file))
        signal.alarm(SECONDS)
        try:
            reader.read(reader.file)
        except EdgesnnError:
            pass
        except BaseException:
            print(f"{reader.name}, seed {seed}, file {done}:\n{traceback.format_exc()}")
            return 1
        finally:
            signal.alarm(0)
        reader.file.write_bytes(good[reader.name])
    print(f"{len(readers)} readers, {runs:,} files, 0 findings")
    return 0


def show(runs: int, seed: int, kept: Path) -> tuple[bool, str]:
    """Run a worker in a process of its own: whether it ended well, and what it said."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--worker", folder, "--seed", str(seed)]
        done = subprocess.run(
            [*command, "--runs", str(runs)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return True, done.stdout.strip()
        last = Path(folder) / "last"
        said = f"ended with {done.returncode}, on {kept}"
        if last.is_file():
            kept.write_bytes(Path(last.read_text()).read_bytes())
            said += f" ({last.read_text()})"
        said += f"\n{done.stdout}{done.stderr[-3000:]}"
        return False, said


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=float, default=1.0, help="files, times 1,000,000")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    runs = chosen.runs or round(RUNS * chosen.budget)
    if chosen.worker is not None:
        return worker(chosen.worker, chosen.seed, runs)
    ended_well, said = show(runs, chosen.seed, Path("build") / "hostile-file")
    print(f"readers: {said}")
    return int(not ended_well)


if __name__ == "__main__":
    sys.exit(main())
