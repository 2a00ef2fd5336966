"""The stack that the core needs at most, found without running it.

Every function's frame and calls are what gcc says of them (-fcallgraph-info=su). What gcc does not
compile, the kernels in assembly and libgcc, is read from the disassembly: its frame is taken as
everything that it ever pushes. A call through a pointer may reach every function that the table it
reads lists, or whose address the file of the caller takes. What a function jumps to when it is done
no longer needs its frame. Recursion is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firmware.cores import Core, ToolError, call

GCC_FLAGS = ("-fstack-usage", "-fcallgraph-info=su")
# which entry of an operation the files that use the tables call, by its place in the struct
TABLE_ENTRY = {"esnn_check": 0, "esnn": 4}
INDIRECT = "__indirect_call"
KEEPS_SP = {"cmp", "tst", "mov", "pop", "ldmia", "ldr", "stmia"}

_NODE = re.compile(
    r'^node: { title: "([^"]+)" label: "[^"]*?(?:\\n(\d+) bytes \((\w+)[^"]*)?"', re.M
)
_EDGE = re.compile(r'^edge: { sourcename: "([^"]+)" targetname: "([^"]+)"', re.MULTILINE)
_SECTION = re.compile(
    r"^RELOCATION RECORDS FOR \[(\S+)\]:\n.*\n((?:[0-9a-f]+ .*\n)*)", re.MULTILINE
)
_FUNCTION = re.compile(r"^[0-9a-f]+ <([^.>][^>]*)>:$")  # no local labels
_INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\t(\S+)(?:\s+(.*))?$")
_CALL_RELOCATION = re.compile(r"R_ARM_(THM_)?(CALL|JUMP\d+|PC\d+)|R_RISCV_(CALL|JAL|RVC|BRANCH)")


@dataclass
class Calls:
    """Frames in bytes, who calls whom, and of these who only jumps there when it is done, by the
    names that gcc gives them."""

    frames: dict[str, int] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    jumps: dict[str, set[str]] = field(default_factory=dict)

    def add(self, name: str, frame: int, called: Iterable[str]) -> None:
        """Take in a function."""
        self.frames[name] = frame
        self.calls.setdefault(name, set()).update(called)


def worst(calls: Calls, entry: str) -> tuple[int, list[str]]:
    """The most stack that a function needs, and the path that needs it.

    Raises:
        ToolError: the path could recurse, or leads to a function that is not known.
    """
    done: dict[str, tuple[int, list[str]]] = {}

    def visit(name: str, above: tuple[str, ...]) -> tuple[int, list[str]]:
        if name in above:
            raise ToolError(f"recursion: {' calls '.join((*above, name))}")
        if name not in calls.frames:
            raise ToolError(f"nothing is known of {name}, which {above[-1:]} calls")
        if name not in done:
            frame, jumps = calls.frames[name], calls.jumps.get(name, set())
            found = [(frame, list[str]())]
            for called in sorted(calls.calls[name]):
                below, path = visit(called, (*above, name))
                found.append((below if called in jumps else frame + below, path))
            deepest, path = max(found, key=lambda way: way[0])
            done[name] = deepest, [name.rpartition(":")[2], *path]
        return done[name]

    return visit(entry, ())


def read(core: Core, objects: Sequence[Path], elf: Path) -> Calls:
    """The functions of a program: of its object files, beside which gcc left what it knows of
    them, of kernels in assembly, and of libgcc."""
    found = Calls()
    symbols = re.findall(r"^([0-9a-f]+) . (\S+)$", call(f"{core.cross}nm", elf), re.MULTILINE)
    linked = {name: int(address, 16) for address, name in symbols}
    tables = _tables(core, objects, set(linked))
    for path in objects:
        _read_callgraph(core, path, tables, set(linked), found)
    functions = disassembled(core, elf)
    at = {linked[name]: found for name, found in functions.items() if name in linked}
    for name, address in linked.items():
        if name not in found.frames and address in at:
            frame, called, jumped = at[address]
            found.add(name, frame, called | jumped)
            found.jumps[name] = jumped - called
    return found


def _read_callgraph(
    core: Core, path: Path, tables: dict[int, set[str]], linked: set[str], found: Calls
) -> None:
    text = path.with_suffix(".ci").read_text()
    local = {}
    for title, frame, kind in _NODE.findall(text):
        if not frame:
            continue
        if kind != "static":
            raise ToolError(f"{title}: its frame is {kind}")
        found.add(title, int(frame), ())
        local[title.rpartition(":")[2]] = title
    taken = _addresses_taken(core, path)
    through_pointers = {local.get(name, name) for name in taken & {*linked, *local}}
    if path.stem in TABLE_ENTRY:
        through_pointers |= tables[TABLE_ENTRY[path.stem]]
    for source, target in _EDGE.findall(text):
        targets = through_pointers if target == INDIRECT else {target}
        if not targets:
            raise ToolError(f"{source}: nothing is known of what it calls through a pointer")
        found.calls[source] |= targets
    # gcc also calls of its own accord: copies, and arithmetic that the processor lacks
    called: dict[tuple[str, str], bool] = {}
    for function, target, jumped in _relocated_calls(core, path):
        if function not in local:
            continue  # in assembly: it is read from the program
        pair = local[function], local.get(target, target)
        called[pair] = called.get(pair, True) and jumped
    for (function, target), only_jumped in called.items():
        found.calls[function].add(target)
        if only_jumped and target not in through_pointers:
            found.jumps.setdefault(function, set()).add(target)


def _tables(core: Core, objects: Iterable[Path], linked: set[str]) -> dict[int, set[str]]:
    """The functions of linked operations, by their place in the struct of an operation."""
    tables: dict[int, set[str]] = {0: set(), 4: set()}
    for path in objects:
        titles = _titles(path)
        for section, records in _relocations(core, path):
            if section.rpartition(".")[2] in linked and ".esnn_op_" in section:
                for offset, _, symbol in records:
                    tables[offset].add(titles.get(symbol, symbol))
    return tables


def _titles(path: Path) -> dict[str, str]:
    """What gcc calls the functions of an object file, by their names there."""
    file = path.with_suffix(".ci")
    text = file.read_text() if file.exists() else ""
    return {title.rpartition(":")[2]: title for title, frame, _ in _NODE.findall(text) if frame}


def _relocations(core: Core, path: Path) -> list[tuple[str, list[tuple[int, str, str]]]]:
    said = call(f"{core.cross}objdump", "-r", path)
    return [
        (section, [
            (int(offset, 16), kind, symbol.split("+")[0])
            for offset, kind, symbol in (line.split()[:3] for line in records.splitlines())
        ])
        for section, records in _SECTION.findall(said)
    ]  # fmt: skip


def _addresses_taken(core: Core, path: Path) -> set[str]:
    """Symbols whose address the code of an object file takes, other than to call them."""
    return {
        symbol
        for section, records in _relocations(core, path)
        for _, kind, symbol in records
        if section.startswith(".text") and not _CALL_RELOCATION.match(kind)
    }


def _relocated_calls(core: Core, path: Path) -> list[tuple[str, str, bool]]:
    """(function, what it calls, whether by a jump at its end) of an object file."""
    found, function, instruction = [], "", ""
    for line in call(f"{core.cross}objdump", "-dr", "--no-show-raw-insn", path).splitlines():
        if match := _FUNCTION.match(line):
            function = match[1]
        elif "R_ARM_" in line or "R_RISCV_" in line:
            kind, symbol = line.split()[1:3]
            target = symbol.split("+")[0]
            if _CALL_RELOCATION.match(kind) and target != function and target[0] != ".":
                jumped = kind == "R_ARM_THM_JUMP24" or "auipc\tt1" in instruction
                found.append((function, target, jumped))
        else:
            instruction = line
    return found


def disassembled(core: Core, elf: Path) -> dict[str, tuple[int, set[str], set[str]]]:
    """Of every symbol of a program: what it pushes in all, bytes, what it calls, and where it
    jumps before it has pushed anything."""
    functions: dict[str, tuple[int, set[str], set[str]]] = {}
    name = ""
    for line in call(f"{core.cross}objdump", "-d", "--no-show-raw-insn", elf).splitlines():
        if match := _FUNCTION.match(line):
            name = match[1]
            functions[name] = 0, set(), set()
        elif match := _INSTRUCTION.match(line):
            frame, called, jumped = functions[name]
            target = re.search(r"[0-9a-f]+ <([^>+]+)>$", match[2] or "")
            if target and target[1] != name:
                links = match[1].split(".")[0] in ("bl", "jal", "jalr")
                (called if links or frame > 0 else jumped).add(target[1])
            functions[name] = frame + pushed(match[1], match[2] or ""), called, jumped
    return functions


def pushed(mnemonic: str, operands: str) -> int:
    """By how many bytes an instruction lowers the stack pointer; 0 where it raises it.

    Raises:
        ToolError: it changes the stack pointer by what is not in it.
    """
    operands = operands.split(";")[0].split("@")[0].strip()
    base = mnemonic.split(".")[0]
    registers = re.search(r"{(.*)}", operands)
    if registers and (base == "push" or (base == "stmdb" and operands.startswith("sp!"))):
        return 4 * len(registers[1].split(","))
    if registers and base == "vpush":
        first, _, last = registers[1].partition("-")
        many = int((last or first)[1:]) - int(first[1:]) + 1
        return many * (8 if first.startswith("d") else 4)
    if match := re.search(r"\[sp, #-(\d+)\]!", operands):
        return int(match[1])
    if match := re.fullmatch(r"sp,\s*(?:sp,\s*)?#(\d+)", operands):
        return int(match[1]) if base in ("sub", "subw") else 0
    if match := re.fullmatch(r"sp,sp,(-?\d+)", operands):
        return max(0, -int(match[1]))
    if re.match(r"sp\s*,", operands) and base not in KEEPS_SP:
        raise ToolError(f"what does '{mnemonic} {operands}' do to the stack?")
    return 0
