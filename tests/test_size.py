"""Sizes are those of firmware/size/baseline.json, and the stack is found where it is used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from native import tool

from firmware.cores import ARM, BUILD, CORES, ToolError, call, has_compiler
from firmware.size import size, stack

BASELINE: dict[str, Any] = json.loads(size.BASELINE.read_text())
MEANT = (
    "Where that is meant, make it the baseline with `python -m firmware.size.size --accept` and "
    "commit firmware/size/baseline.json"
)


def need_compiler(name: str) -> None:
    if CORES[name].cross == ARM:
        tool(f"{ARM}gcc")
    elif not has_compiler(CORES[name]):
        pytest.skip(f"{CORES[name].cross}gcc is not installed")


def compare(now: dict[str, Any], baseline: dict[str, Any]) -> None:
    if now.get("compiler") != baseline.get("compiler"):
        pytest.skip(f"the baseline is of {baseline['compiler']}, here is {now['compiler']}")
    moved = size.changes(now, baseline)
    assert not moved, f"{'; '.join(moved)}. {MEANT}"


@pytest.mark.parametrize("name", CORES)
def test_the_core_takes_what_the_baseline_says(name: str, tmp_path: Path) -> None:
    need_compiler(name)
    compare(size.measure_core(name, tmp_path), BASELINE["cores"][name])


@pytest.mark.parametrize("name", size.BOARDS)
def test_firmware_takes_what_the_baseline_says(name: str) -> None:
    need_compiler(size.CORE_OF_BOARD[name])
    compare(size.measure_board(name, BUILD / "firmware" / name), BASELINE["boards"][name])


def test_the_committed_models_take_what_the_baseline_says() -> None:
    compare(size.measure_models(), BASELINE["models"])


def test_exported_projects_take_what_the_baseline_says(tmp_path: Path) -> None:
    need_compiler("m4")
    for form, now in size.measure_exports(tmp_path / "exports").items():
        compare(now, BASELINE["exports"][form])


def test_a_change_of_one_byte_is_seen() -> None:
    was = {"m4": {"compiler": "gcc", "all": {"text": 100, "stack_path": "a > b"}}}
    assert size.changes(was, was) == []
    now = {"m4": {"compiler": "gcc", "all": {"text": 101, "stack_path": "b"}}}
    assert size.changes(now, was) == ["m4 all text: 100 became 101 (+1)"]
    other = {"m4": {"compiler": "clang", "all": {"text": 200}}}
    assert size.changes(other, was) == []


@pytest.mark.parametrize("name", CORES)
def test_the_baseline_has_no_variables(name: str) -> None:
    for which in ("all", "dense_lif"):
        assert BASELINE["cores"][name][which]["data"] == 0


@pytest.mark.parametrize("name", CORES)
def test_the_baseline_has_little_stack(name: str) -> None:
    for which in ("all", "dense_lif"):
        assert BASELINE["cores"][name][which]["stack"] <= size.STACK_MARK


@pytest.mark.parametrize(
    ("mnemonic", "operands", "bytes_pushed"),
    [
        ("push", "{r4, r5, lr}", 12),
        ("stmdb", "sp!, {r4, r5, r6, r7, r8, r9, sl, fp, lr}", 36),
        ("stmia", "r0!, {r4, r5}", 0),
        ("vpush", "{d8-d15}", 64),
        ("sub", "sp, #68\t; 0x44", 68),
        ("sub.w", "sp, sp, #1024\t; 0x400", 1024),
        ("add", "sp, #84", 0),
        ("str.w", "lr, [sp, #-4]!", 4),
        ("ldr.w", "lr, [sp], #4", 0),
        ("addi", "sp,sp,-48", 48),
        ("addi", "sp,sp,48", 0),
        ("mov", "r4, sp", 0),
    ],
)
def test_what_an_instruction_pushes(mnemonic: str, operands: str, bytes_pushed: int) -> None:
    assert stack.pushed(mnemonic, operands) == bytes_pushed


def test_a_stack_pointer_that_moves_by_a_register_is_no_guess() -> None:
    with pytest.raises(ToolError, match="stack"):
        stack.pushed("sub", "sp, sp, r3")


def test_the_deepest_path_counts_and_recursion_is_refused() -> None:
    calls = stack.Calls()
    calls.add("main", 8, ["a", "b"])
    calls.add("a", 100, [])
    calls.add("b", 40, ["c"])
    calls.add("c", 80, [])
    assert stack.worst(calls, "main") == (128, ["main", "b", "c"])
    calls.jumps["b"] = {"c"}  # its frame is gone by then
    assert stack.worst(calls, "main") == (108, ["main", "a"])
    calls.calls["c"].add("b")
    with pytest.raises(ToolError, match="recursion: main calls b calls c calls b"):
        stack.worst(calls, "main")
    calls.calls["c"] = {"d"}
    with pytest.raises(ToolError, match="nothing is known of d"):
        stack.worst(calls, "main")


@pytest.mark.parametrize("name", ["m0", "m4", "m55", "rv32"])
def test_what_is_read_from_a_disassembly_is_at_least_what_gcc_says(
    name: str, tmp_path: Path
) -> None:
    """gcc knows the frames of C; the kernels in assembly are read in the same way."""
    need_compiler(name)
    core = CORES[name]
    elf, objects = size.build(name, tmp_path, size.ALL)
    read = stack.disassembled(core, elf)
    said = "".join(path.with_suffix(".su").read_text() for path in objects)
    frames = re.findall(r":(esnn_\w+)\t(\d+)\tstatic$", said, re.MULTILINE)
    assert len(frames) > 20
    for function, frame in frames:
        if function in read:
            assert read[function][0] >= int(frame), function


def test_the_frames_of_kernels_in_assembly_are_known(tmp_path: Path) -> None:
    tool(f"{ARM}gcc")
    elf, objects = size.build("m4", tmp_path, size.ALL)
    calls = stack.read(CORES["m4"], objects, elf)
    registers = 4 * 13  # r0 to r11 and lr
    kernels = {"esnn_dense_events": registers + 28, "esnn_tiles4": registers + 68, "esnn_clear": 24}
    assert {name: calls.frames[name] for name in kernels} == kernels
    # pointers: the loader's checks, the step's operations, the kernels of a dense projection
    check, step = (stack.worst(calls, entry)[1] for entry in ("esnn_check", "esnn_step"))
    assert len(check) > 2
    assert len(step) > 3
    assert "esnn_load" not in step
    symbols = call(f"{ARM}nm", elf)
    assert "malloc" not in symbols
