"""The core and a C harness of this folder as one program, from any compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
FIRMWARE = TESTS.parent / "firmware"
CORE = sorted((FIRMWARE / "core").glob("*.c"))
APP = sorted((FIRMWARE / "app").glob("*.c"))
STRICT = (
    "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow",
    "-Wmissing-prototypes", "-Wundef", "-Wcast-align", "-Wstrict-prototypes", "-Wvla", "-Werror",
)  # fmt: skip
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
HANGS_AFTER_S = 120


def tool(name: str) -> str:
    """Path of a tool that the tests cannot do without."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is not installed: `make test` installs what the tests need")
    return path


def call(command: Sequence[str | Path], **environment: str) -> bytes:
    """Standard output of a command; a test in which it fails or hangs fails with what it said."""
    line = " ".join(str(part) for part in command)
    try:
        done = subprocess.run(
            command, capture_output=True, env={**os.environ, **environment}, timeout=HANGS_AFTER_S
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"{line}\ndid not end within {HANGS_AFTER_S} s")
    if done.returncode != 0:
        said = done.stderr[-6000:].decode(errors="replace")
        pytest.fail(f"{line}\nended with {done.returncode}\n{said}")
    return done.stdout


def build(folder: Path, harness: str, compiler: str, *flags: str, optional: bool = False) -> Path:
    """The core with a harness, compiled in `folder`.

    An optional compiler that is not there, or that makes no programs with these flags that run
    here, skips the test; anything else that goes wrong fails it.
    """
    if optional:
        _skip_unless_it_works(folder, compiler, flags)
    program = folder / Path(harness).stem
    include = ("-I", FIRMWARE / "core")
    call([tool(compiler), *STRICT, *flags, *include, TESTS / harness, *CORE, "-o", program])
    return program


def _skip_unless_it_works(folder: Path, compiler: str, flags: Sequence[str]) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    source, program = folder / "nothing.c", folder / "nothing"
    source.write_text("#include <stdio.h>\nint main(void) { return 0; }\n")
    commands: list[list[str | Path]] = [[compiler, *flags, source, "-o", program], [program]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
            pytest.skip(f"{compiler} {' '.join(flags)} makes no programs here: {why}")
