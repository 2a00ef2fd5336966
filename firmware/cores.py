"""The processors that the core is built for and measured on, and what builds for them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent
BUILD = FIRMWARE.parent / "build"
CORE_SOURCES = tuple(sorted((FIRMWARE / "core").glob("*.c")))
STRING = FIRMWARE / "boards" / "freestanding" / "string.c"

STRICT = (
    "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow",
    "-Wmissing-prototypes", "-Wundef", "-Wcast-align", "-Wstrict-prototypes", "-Wvla", "-Werror",
)  # fmt: skip
COMMON = ("-ffreestanding", "-ffunction-sections", "-fdata-sections")
STRING_FLAGS = ("-O2", "-fno-tree-loop-distribute-patterns")
ARM, RISCV = "arm-none-eabi-", "riscv64-unknown-elf-"
HARD, SOFT = "-mfloat-abi=hard", "-mfloat-abi=soft"


@dataclass(frozen=True)
class Core:
    """A processor, the compiler for it, and the QEMU machine that has it.

    Args:
        cpu: what tells the compiler the processor.
        machine: of QEMU.
        cross: what the names of its tools begin with.
        code, ram: where the machine has them.
    """

    cpu: tuple[str, ...]
    machine: str
    cross: str = ARM
    code: int = 0
    ram: int = 0x20000000


def _arm(name: str, *more: str) -> tuple[str, ...]:
    return ("-mthumb", f"-mcpu=cortex-{name}", *more)


CORES = {
    "m0": Core(_arm("m0", SOFT), "microbit"),
    "m3": Core(_arm("m3", SOFT), "mps2-an385"),
    "m4": Core(_arm("m4", HARD, "-mfpu=fpv4-sp-d16"), "mps2-an386"),
    "m7": Core(_arm("m7", HARD, "-mfpu=fpv5-d16"), "mps2-an500"),
    "m33": Core(
        _arm("m33", HARD, "-mfpu=fpv5-sp-d16"), "mps2-an505", code=0x10000000, ram=0x38000000
    ),
    "m55": Core(_arm("m55", HARD), "mps3-an547", ram=0x30000000),
    "rv32": Core(
        ("-march=rv32imac", "-misa-spec=2.2", "-mabi=ilp32", "-mcmodel=medany"), "virt",
        cross=RISCV, code=0x80000000, ram=0x80100000,
    ),
}  # fmt: skip


class ToolError(Exception):
    """Something that must work did not; the message says what."""


def call(*command: str | Path, folder: Path | None = None) -> str:
    """Standard output and error of a command that must succeed, started in a folder.

    Raises:
        ToolError: it did not.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=folder
    )
    if done.returncode != 0:
        line = " ".join(str(part) for part in command)
        raise ToolError(f"{line}\nended with {done.returncode}\n{done.stderr[-4000:]}")
    return done.stdout + done.stderr


def has_compiler(core: Core) -> bool:
    """Whether this machine can build for a core."""
    return shutil.which(f"{core.cross}gcc") is not None


def compiler_of(core: Core) -> str:
    """Which compiler builds for a core, its version in it."""
    return call(f"{core.cross}gcc", "--version").splitlines()[0]


def compile_one(core: Core, source: Path, out: Path, flags: Iterable[str | Path]) -> Path:
    """The object file of a source; C strictly."""
    strict = STRICT if source.suffix == ".c" else ()
    include = [f"-I{FIRMWARE / part}" for part in ("core", "boards/freestanding")]
    command = [f"{core.cross}gcc", *core.cpu, *strict, *COMMON, *include, *flags]
    call(*command, "-c", source, "-o", out)
    return out


def link(core: Core, objects: Sequence[Path], out: Path, script: Path, **places: int) -> Path:
    """A program of objects; `places` are symbols that the linker script asks for."""
    call(
        f"{core.cross}gcc", *core.cpu, "-nostdlib", "-nostartfiles", "-Wl,--gc-sections",
        *(f"-Wl,--defsym,{key}={value}" for key, value in places.items()), "-T", script,
        *objects, "-lgcc", "-o", out,
    )  # fmt: skip
    return out
