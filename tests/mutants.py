"""Mutation testing of the C core: `make mutants`.

Each mutation of tests/mutations.py is compiled, and judged by the tests' own cases. What a test
demands of the core was written down as that test ran: the verdict on every image of
tests/test_loader.py, the words of tests/hostile.c in tests/test_hostile.py, and the reference's
bits of the random graphs of tests/test_compilers.py. A mutant is killed if it gives anything else,
crashes or does not end; one that passes meets more graphs, and then hostile images under
AddressSanitizer and UndefinedBehaviorSanitizer.

A mutant whose object code at -O2 is that of the core is the same program, and is left out; so is
what does not compile. The kernels for Arm and RISC-V are not mutated: no mutant of those could be
run in a second.
"""

from __future__ import annotations

import argparse
import os
import queue
import random
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import equality
import native
import numpy as np
import pytest
import test_hostile
from equality import ROOM
from mutations import Mutation, mutations
from native import CORE, FIRMWARE, SANITIZERS, TESTS
from test_operations import by_small_table, small_table

from edgesnn import blob

OUT = TESTS.parent / "build" / "mutants"
MARK = 90.0
"""Of the mutants that are tried and that are no copies, killed at least, %."""
SEED = 0
FLAGS = ("-std=c99", "-O2", "-w", f"-I{FIRMWARE / 'core'}")
NOT_HERE = ("esnn_kernels_arm.c", "esnn_kernels_mve.c", "esnn_kernels_packed.c")
HOST, INTERNAL = "esnn_kernels_host.c", FIRMWARE / "core" / "esnn_internal.h"
# CPU time that the sound core does not come near, in all but the longest runs
SECONDS, LONG_SECONDS = 3, 30
# random graphs of each turn; what the first ones kill costs the least
TURNS = (200, 1500, 10_000)
# tests/test_hostile.py without what takes minutes
HOSTILE = "64bit and not (stays_in_bounds or stay_in_bounds) and (not every_changed or one_neuron)"
SCRAMBLES, GARBAGE = 400, 2000
NO_DEATH_CALLBACK = "void __sanitizer_set_death_callback(void (*f)(void)) { (void)f; }\n"


REFUSED = {"magic": -3, "version": -4, "length": -5, "crc": -6, "format": -7, "bound": -8}
"""By what hostile.c calls it: the status in the results of compilers.c."""
COPY, NOTHING, SURVIVES = "copy", "nothing", "survives"
OTHERS = (COPY, NOTHING, SURVIVES)
Objects = dict[Path, Path]
"""Of some sources."""


class CompileError(Exception):
    """A mutant is no C."""


@dataclass
class Demands:
    """What tests want of programs: files of cases with the results, and words of hostile.c."""

    cases: list[tuple[Path, bytes]] = field(default_factory=list)
    said: list[tuple[tuple[str, ...], bytes]] = field(default_factory=list)


class Recorder:
    """Writes down what tests give to the programs that they build, and what they get."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wants = folder, Demands()
        folder.mkdir(parents=True)

    def pytest_collection_finish(self) -> None:
        """Stand between the tests and their programs, just before the first test."""
        equality.call = self.call  # type: ignore[assignment]
        test_hostile.call = self.call  # type: ignore[assignment]

    def call(self, command: Sequence[str | Path], **environment: str) -> bytes:
        """As native.call."""
        said = native.call(command, **environment)
        program, *arguments = map(str, command)
        kept = self.folder / f"{len(self.wants.cases) + len(self.wants.said)}"
        if Path(program).name == "compilers":
            kept.write_bytes(Path(arguments[0]).read_bytes())
            self.wants.cases.append((kept, Path(arguments[1]).read_bytes()))
        elif Path(program).name == "hostile":
            kept.write_bytes(Path(arguments[1]).read_bytes())
            self.wants.said.append(((arguments[0], str(kept), *arguments[2:]), said))
        return said


def demands() -> Demands:
    """Those of the tests, which must pass."""
    recorder = Recorder(OUT / "demands")
    chosen = ["tests/test_hostile.py", "-k", HOSTILE]
    for options in (["tests/test_loader.py"], ["tests/test_seldom.py"], chosen):
        quiet = ("-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
        if pytest.main([*options, *quiet], plugins=[recorder]) != 0:
            sys.exit("the tests must pass before mutants are judged by them")
    wants = recorder.wants
    take_verdicts(wants)
    merged = OUT / "demands" / "images"
    merged.write_bytes(b"".join(path.read_bytes() for path, _ in wants.cases))
    wants.cases = [(merged, b"".join(result for _, result in wants.cases))]
    file, results = equality.cases()
    done, at = 0, 0
    for turn in TURNS:
        cases = equality.first_cases(file, turn)
        path = OUT / "demands" / f"graphs to {turn}"
        path.write_bytes(cases[at:])
        wants.cases.append((path, results[done:turn].astype("<u4").tobytes()))
        done, at = turn, len(cases)
    return wants


def take_verdicts(wants: Demands) -> None:
    """What hostile.c refuses, among the cases: one program for all of them, not one for each."""
    left, images = [], b""
    results: list[list[int]] = []
    for arguments, said in wants.said:
        verdict = said.decode().partition(":")[0]
        if arguments[0] == "run" and verdict in REFUSED:
            image = Path(arguments[1]).read_bytes()
            images += equality.as_bytes(image, np.zeros((1, 1), np.int16))
            results.append([2**32 + REFUSED[verdict], 0, 0, 0, 0])
        else:
            left.append((arguments, said))
    file = OUT / "demands" / "refused"
    file.write_bytes(images)
    wants.cases.append((file, np.array(results, "<u4").tobytes()))
    wants.said = left


@dataclass(frozen=True)
class Build:
    """One way to compile the core into a program with a harness."""

    name: str
    harness: Path
    flags: tuple[str, ...] = FLAGS
    table: Path | None = None
    extra: tuple[Path, ...] = ()

    @property
    def sources(self) -> list[Path]:
        """Of the core, with the table of operations that this build has."""
        there = [path for path in CORE if self.table is None or path.stem != "esnn_operations"]
        return [*there, self.harness, *((self.table,) if self.table else ()), *self.extra]

    def object(self, source: Path) -> Path:
        """Where a source's sound object is."""
        return OUT / self.name / f"{source.stem}.o"

    def prepare(self) -> None:
        """Compile everything."""
        (OUT / self.name).mkdir(parents=True)
        for source in self.sources:
            compile_one(self.flags, source, self.object(source))

    def link(self, program: Path, changed: dict[Path, Path]) -> None:
        """A program in which the objects of some sources are others."""
        objects = [changed.get(source, self.object(source)) for source in self.sources]
        sanitized = [flag for flag in self.flags if flag.startswith("-fsanitize")]
        subprocess.run(["gcc", *sanitized, *objects, "-o", program], check=True)


def compile_one(flags: Sequence[str], source: Path, made: Path) -> bool:
    """Whether it compiles."""
    command = ["gcc", *flags, "-c", source, "-o", made]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def run(command: Sequence[str | Path], folder: Path, seconds: int = LONG_SECONDS) -> bytes | None:
    """Standard output of a program; None where it fails or does not end."""
    limited = ["prlimit", f"--cpu={seconds}", "--core=0", *command]
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    try:
        done = subprocess.run(
            limited, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
            env=environment, timeout=20 * seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def gives(program: Path, cases: Path, results: bytes, folder: Path) -> bool:
    """Whether a build of compilers.c writes these results of these cases."""
    out = folder / "results"
    seconds = LONG_SECONDS if cases.name == f"graphs to {TURNS[-1]}" else SECONDS
    done = run([program, cases, out], folder, seconds) is not None
    return done and out.read_bytes() == results


class Judge:
    """The core in all its builds, and what tests demand of each."""

    def __init__(self) -> None:
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        self.sources = {path: path.read_bytes() for path in (*CORE, INTERNAL)}
        self.wants = demands()
        compilers, hostile = TESTS / "compilers.c", TESTS / "hostile.c"
        stub = OUT / "stub.c"
        stub.write_text(NO_DEATH_CALLBACK)
        room = (*FLAGS, *ROOM)
        self.plain = Build("plain", compilers, room)
        self.small = Build("small", compilers, room, small_table(OUT))
        self.hostile = Build("hostile", hostile, extra=(stub,))
        self.host = Build("host", compilers, (*room, "-DESNN_HOST"))
        checked = (*FLAGS, *SANITIZERS)
        self.checked = Build("checked", hostile, checked)
        self.checked_host = Build("checked-host", hostile, (*checked, "-DESNN_HOST"))
        for build in (self.plain, self.small, self.hostile, self.host, self.checked,
                      self.checked_host):  # fmt: skip
            build.prepare()
        graphs, results = self.wants.cases[2]
        small = by_small_table(graphs.read_bytes(), equality.read_results(results))
        self.small_cases = graphs, small.astype("<u4").tobytes()
        self.goldens = []
        for name, graph in test_hostile.GOLDEN.items():
            image = OUT / f"{name}.esnn"
            image.write_bytes(blob.pack_image(graph))
            self.goldens.append(image)
        self.check_itself()

    def check_itself(self) -> None:
        """The sound core must pass, or nothing that a mutant fails would mean anything."""
        for main in (self.plain, self.host):
            folder = OUT / "sound" / main.name
            folder.mkdir(parents=True)
            why = self.fails(main, lambda _: {}, folder)
            if why:
                sys.exit(f"the core itself does not pass: {why}, {main.name}")

    def fails(self, main: Build, changed: Callable[[Build], Objects], folder: Path) -> str:
        """What shows that some objects of a build are not the core's; "": nothing does."""
        program, hostile = folder / "compilers", folder / "hostile"
        objects = changed(main)
        main.link(program, objects)
        for cases, results in self.wants.cases[:-1]:
            if not gives(program, cases, results, folder):
                return cases.name
        if main is self.plain:
            small = folder / "small"
            self.small.link(small, objects)
            if not gives(small, *self.small_cases, folder):
                return "small table"
            self.hostile.link(hostile, objects)
            for arguments, said in self.wants.said:
                if run([hostile, *arguments], folder, SECONDS) != said:
                    return f"hostile {arguments[0]}"
        if not gives(program, *self.wants.cases[-1], folder):
            return self.wants.cases[-1][0].name
        checked = self.checked if main is self.plain else self.checked_host
        checked.link(hostile, changed(checked))
        for image in self.goldens:
            if run([hostile, "scramble", image, str(SCRAMBLES)], folder) is None:
                return "hostile scramble"
        if run([hostile, "garbage", self.goldens[0], str(GARBAGE)], folder) is None:
            return "hostile garbage"
        return ""

    def verdict(self, mutation: Mutation, folder: Path) -> str:
        """What kills a mutant; or COPY, NOTHING or SURVIVES."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        main = self.host if mutation.file.name == HOST else self.plain
        sources = CORE if mutation.file.suffix == ".h" else [mutation.file]
        for path in sources:
            shutil.copy(path, folder)
        (folder / mutation.file.name).write_bytes(mutation.of(self.sources[mutation.file]))

        def changed(build: Build) -> Objects:
            objects = {path: folder / f"{build.name}-{path.stem}.o" for path in sources}
            for path, made in objects.items():
                if not compile_one(build.flags, folder / path.name, made):
                    raise CompileError
            return objects

        try:
            made = changed(main)
            if all(
                out.read_bytes() == main.object(path).read_bytes() for path, out in made.items()
            ):
                return COPY
            return self.fails(main, lambda b: made if b is main else changed(b), folder) or SURVIVES
        except CompileError:
            return NOTHING


def all_mutations() -> list[Mutation]:
    """Of everything that runs on this machine."""
    files = [path for path in CORE if path.name not in NOT_HERE]
    found = [m for path in files for m in mutations(path)]
    return found + list(mutations(INTERNAL, functions_only=True))


def described(mutation: Mutation) -> str:
    """Where and what a mutation is, in a line."""
    source = mutation.file.read_bytes()
    was = " ".join(source[mutation.start : mutation.end].decode().split())
    line = " ".join(source.splitlines()[mutation.line - 1].decode().split())
    place = f"{mutation.file.name}:{mutation.line}"
    return f"{place}: `{was}` -> `{' '.join(mutation.text.split())}` in `{line}`"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", help="sources of the core; default: all")
    parser.add_argument("--budget", type=float, default=1.0, help="share of all mutants")
    parser.add_argument("--seed", type=int, default=SEED, help="of the sample")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    everything = all_mutations()
    wanted = [m for m in everything if not chosen.files or m.file.name in chosen.files]
    n = max(1, round(min(1.0, chosen.budget) * len(wanted)))
    # a larger share begins with a smaller one
    sample = random.Random(chosen.seed).sample(wanted, len(wanted))[:n]
    judge = Judge()
    folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for k in range(chosen.jobs):
        folders.put(OUT / "mutants" / str(k))

    def verdict(mutation: Mutation) -> str:
        folder = folders.get()
        try:
            return judge.verdict(mutation, folder)
        finally:
            folders.put(folder)

    verdicts: Counter[str] = Counter()
    by_file: dict[str, Counter[str]] = defaultdict(Counter)
    pool = ThreadPoolExecutor(chosen.jobs)
    try:
        for mutation, said in zip(sample, pool.map(verdict, sample), strict=True):
            verdicts[said] += 1
            by_file[mutation.file.name][said] += 1
            if said == SURVIVES:
                print(described(mutation), flush=True)
            if sum(verdicts.values()) % 50 == 0:
                print(f"{sum(verdicts.values())} tried", file=sys.stderr, flush=True)
    except KeyboardInterrupt:  # those so far are a random sample, too
        pool.shutdown(cancel_futures=True)
    for name, counted in sorted(by_file.items()):
        print(f"{name}: {summary(counted)}")
    print("killed by: " + ", ".join(
        f"{name} {count}" for name, count in verdicts.most_common() if name not in OTHERS
    ))  # fmt: skip
    tried = sum(verdicts.values())
    print(f"mutants: {tried} of {len(wanted)}, seed {chosen.seed}: {summary(verdicts)}")
    return int(killed(verdicts) < MARK)


def killed(verdicts: Counter[str]) -> float:
    """Of the mutants that are programs of their own, %."""
    tried = sum(verdicts.values()) - verdicts[COPY] - verdicts[NOTHING]
    return 100 * (tried - verdicts[SURVIVES]) / max(1, tried)


def summary(verdicts: Counter[str]) -> str:
    """What became of mutants, in a line."""
    dead = sum(count for name, count in verdicts.items() if name not in OTHERS)
    return (
        f"{dead} killed, {verdicts[SURVIVES]} survive ({killed(verdicts):.1f} % killed), "
        f"{verdicts[COPY]} are the same object code, {verdicts[NOTHING]} do not compile"
    )


if __name__ == "__main__":
    sys.exit(main())
