"""Measure what the core, the firmware and the models take: flash, RAM and stack, exactly.

`make size` builds the core by itself for every processor whose compiler is installed, once with all
operations and once with those of a dense network of plain LIF neurons; links each with a program
that calls the whole interface (main.c); reads sizes from what was linked and the stack from the
calls in it (stack.py); and takes the sizes of the firmware of every board and of the committed
models. It writes build/size.json and compares with baseline.json: bytes of one compiler, so that
any difference counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgesnn import blob, operations
from edgesnn.devices import export
from edgesnn.devices.recordings import basic_motions
from edgesnn.quantize import quantize
from edgesnn.sources import read_network
from edgesnn.zoo.basicmotions import CHECKPOINT
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
    has_compiler,
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
BOARDS = {
    path.parent.name: path for path in sorted((FIRMWARE / "boards").glob("*/board.mk"))
}  # fmt: skip
CORE_OF_BOARD = {core.machine: name for name, core in CORES.items()} | {
    "virt-rv32": "rv32", "nrf52832": "m4", "nrf52840": "m4", "stm32f405": "m4",
    "stm32l476": "m4", "rp2040": "m0", "esp32c3": "rv32",
}  # fmt: skip
IN_FLASH = (".text", ".rodata", ".in_ram", ".data")
TEXT_MARKS = {("m4", "all"): 12288, ("m4", "dense_lif"): 6144}
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


def measure_board(name: str, folder: Path) -> dict[str, Any]:
    """What the firmware of a board takes: flash, and of the RAM what is left for the stack."""
    core = CORES[CORE_OF_BOARD[name]]
    call("make", "-C", FIRMWARE, f"BOARD={name}", f"OUT={folder}")
    elf = folder / "edgesnn.elf"
    size = sections(core, elf)
    symbols = {}
    for line in call(f"{core.cross}nm", elf).splitlines():
        address, _, symbol = line.rpartition(" ")
        symbols[symbol] = int(address.split()[0], 16)
    return {
        "compiler": compiler_of(core),
        "flash": sum(size.get(part, 0) for part in IN_FLASH),
        "data": size.get(".data", 0),
        "bss": size.get(".bss", 0),
        "left_for_stack": symbols["stack_top"] - symbols["bss_end"],
    }


def committed_model() -> blob.Model:
    """The committed network, converted as the demo does."""
    recordings = basic_motions("train")
    graph = quantize(read_network(CHECKPOINT), recordings.signal).graph
    return blob.unpack(blob.pack(graph))


def measure_exports(folder: Path) -> dict[str, dict[str, Any]]:
    """Code and constants of each exported project with the committed network, on a Cortex-M4."""
    core, model = CORES["m4"], committed_model()
    found: dict[str, dict[str, Any]] = {}
    for form, sources in export.SOURCES.items():
        project = folder / form
        shutil.rmtree(project, ignore_errors=True)
        export.write_project(project, model, form)
        if form == "bangle":
            size = (project / "edgesnn.bin").stat().st_size
        else:
            objects = [
                compile_one(core, path, path.with_suffix(".o"), ("-O2", f"-I{project / sources}"))
                for path in sorted((project / sources).glob("*.c"))
            ]
            lines = call(f"{core.cross}size", *objects).splitlines()[1:]
            size = sum(int(line.split()[0]) for line in lines)
        found[form] = {"compiler": compiler_of(core), "bytes": size}
    return found


def measure_models() -> dict[str, dict[str, int]]:
    """Image and arena of the committed networks."""
    model = committed_model()
    return {"basicmotions": {"image": len(model.image), "arena": model.arena_bytes}}


def measure(folder: Path) -> dict[str, Any]:
    """Everything that this machine has the compilers for."""
    cores = [name for name in CORES if has_compiler(CORES[name])]
    for name in sorted(set(CORES) - set(cores)):
        print(f"{name} is left out: it needs {CORES[name].cross}gcc", file=sys.stderr)
    boards = [name for name in BOARDS if CORE_OF_BOARD[name] in cores]
    return {
        "cores": {name: measure_core(name, folder / name) for name in cores},
        "boards": {name: measure_board(name, BUILD / "firmware" / name) for name in boards},
        "models": measure_models(),
        "exports": measure_exports(folder / "exports") if "m4" in cores else {},
    }


def changes(now: dict[str, Any], baseline: dict[str, Any], where: str = "") -> list[str]:
    """What differs from the baseline, of the parts that are in both and of one compiler."""
    if now.get("compiler") != baseline.get("compiler"):
        return []
    found = []
    for key, was in baseline.items():
        current = now.get(key)
        if isinstance(was, dict) and isinstance(current, dict):
            found += changes(current, was, f"{where}{key} ")
        elif isinstance(was, int) and current is not None and current != was:
            found.append(f"{where}{key}: {was:,} became {current:,} ({current - was:+,})")
    return found


def misses(found: dict[str, Any]) -> list[str]:
    """The marks that are not met."""
    missed = []
    for name, core in found["cores"].items():
        for which in ("all", "dense_lif"):
            text, stack_bytes = core[which]["text"], core[which]["stack"]
            most = TEXT_MARKS.get((name, which), text)
            if text > most:
                missed.append(f"{name} {which}: {text:,} bytes of text, not {most:,}")
            if stack_bytes > STACK_MARK:
                missed.append(f"{name} {which}: {stack_bytes} bytes of stack, not {STACK_MARK}")
    return missed


def table(found: dict[str, Any]) -> str:
    """What was measured, for people."""
    lines = ["core alone, bytes     all operations           dense LIF alone",
             "                    text  data  stack      text  data  stack"]  # fmt: skip
    for name, core in found["cores"].items():
        cells = [
            f"{core[which]['text']:9,} {core[which]['data']:5} {core[which]['stack']:6}"
            for which in ("all", "dense_lif")
        ]
        lines.append(f"{name:14} {' '.join(cells)}")
    lines.append("firmware, bytes    flash    data      bss  left for the stack")
    for name, board in found["boards"].items():
        lines.append(f"{name:14} {board['flash']:9,} {board['data']:7,} {board['bss']:8,} "
                     f"{board['left_for_stack']:19,}")  # fmt: skip
    lines.append("model, bytes       image   arena")
    for name, model in found["models"].items():
        lines.append(f"{name:14} {model['image']:9,} {model['arena']:7,}")
    lines.append("exported project with the model basicmotions, bytes on a Cortex-M4")
    for name, project in found["exports"].items():
        lines.append(f"{name:14} {project['bytes']:9,}")
    return "\n".join([*lines, *(f"misses its mark: {miss}" for miss in misses(found))])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 1 where something differs from the baseline."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accept", action="store_true", help="make this the baseline")
    chosen = parser.parse_args(arguments)
    try:
        found = measure(BUILD / "size")
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    (BUILD / "size.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    if chosen.accept:
        merged = {part: {**known.get(part, {}), **sizes} for part, sizes in found.items()}
        BASELINE.write_text(json.dumps(merged, indent=1) + "\n")
        return 0
    moved = changes(found, known)
    for line in moved:
        print(f"not as in baseline.json: {line}", file=sys.stderr)
    return int(bool(moved))


if __name__ == "__main__":
    sys.exit(main())
