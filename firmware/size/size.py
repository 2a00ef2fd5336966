"""Measure what the core, the firmware and the models take: flash, RAM and stack, exactly.

`make size` builds the core by itself for every processor whose compiler is installed, once with all
operations and once with those of a dense network of plain LIF neurons; links each with a program
that calls the whole interface (main.c); reads sizes from what was linked and the stack from the
calls in it (stack.py); and takes the sizes of the firmware of every board and of the committed
models. It writes build/size.json and compares with baseline.json.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesnn import blob, operations
from firmware.cores import (
    BUILD,
    CORE_SOURCES,
    CORES,
    FIRMWARE,
    STRING,
    STRING_FLAGS,
    Core,
    ToolError,
    call,
    compile_one,
    compiler_of,
    link,
)
from firmware.count.count import layers_graph
from firmware.size import stack

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
ALL = FIRMWARE / "core" / "esnn_operations.c"
PUBLIC = (
    "esnn_check", "esnn_load", "esnn_step", "esnn_step_events", "esnn_reset", "esnn_events",
    "esnn_values", "esnn_size", "esnn_digest", "esnn_selftest", "esnn_crc32",
)  # fmt: skip
MARKS = {"m4": {"all": 12288, "dense_lif": 6144}}
STACK_MARK = 512
HEAP = {"malloc", "calloc", "realloc", "free", "_sbrk", "sbrk"}


def dense_lif_table(folder: Path) -> Path:
    """The operations of a dense network: int8 weights, plain LIF neurons, a spike count."""
    path = folder / "dense_lif.c"
    path.write_text(operations.table([blob.pack_image(layers_graph(1))], ["a dense network"]))
    return path


def build(name: str, folder: Path, table: Path) -> tuple[Path, list[Path]]:
    """The core with a table of operations, linked by itself; and its object files."""
    core = CORES[name]
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        **dict.fromkeys((path for path in CORE_SOURCES if path != ALL), ("-O2",)),
        table: ("-O2",),
        STRING: STRING_FLAGS,
        HERE / "main.c": ("-O2",),
    }
    objects = [
        compile_one(core, source, folder / f"{source.stem}.o", (*flags, *stack.GCC_FLAGS))
        for source, flags in sources.items()
    ]
    return link(core, objects, folder / "core.elf", HERE / "link.ld"), objects


def sections(core: Core, elf: Path) -> dict[str, int]:
    """Bytes of the sections of a program by their names."""
    lines = call(f"{core.cross}size", "-A", elf).splitlines()
    rows = [line.split() for line in lines if line.startswith(".")]
    return {row[0]: int(row[1]) for row in rows}


def measure_core(name: str, folder: Path) -> dict[str, Any]:
    """Text, data and stack of the core alone.

    Raises:
        ToolError: it does not build, has variables or a heap of its own, or could recurse.
    """
    core = CORES[name]
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"compiler": compiler_of(core), "flags": " ".join((*core.cpu, "-O2"))}
    for which, table in (("all", ALL), ("dense_lif", dense_lif_table(folder))):
        elf, objects = build(name, folder / which, table)
        symbols = {line.split()[-1] for line in call(f"{core.cross}nm", elf).splitlines()}
        if HEAP & symbols:
            raise ToolError(f"{name}: the core has a heap: {', '.join(sorted(HEAP & symbols))}")
        size = sections(core, elf)
        calls = stack.read(core, objects, elf)
        deepest = {function: stack.worst(calls, function) for function in PUBLIC}
        function = max(PUBLIC, key=lambda f: deepest[f][0])
        found[which] = {
            "text": size[".text"],
            "data": size.get(".data", 0) + size.get(".bss", 0),
            "stack": deepest[function][0],
            "stack_path": " > ".join(deepest[function][1]),
        }
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    name = arguments[0] if arguments else "m4"
    print(json.dumps(measure_core(name, BUILD / "size" / name), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
