"""Kernels take the instructions that firmware/count/baseline.json says, and give the C's bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from native import tool

from firmware.cores import ARM, CORES
from firmware.count import count

BASELINE: dict[str, Any] = json.loads(count.BASELINE.read_text())["cores"]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("gcc")
    return count.build_plugin(tmp_path_factory.mktemp("plugin"))


@pytest.mark.board
@pytest.mark.parametrize("name", CORES)
def test_counts_are_the_baseline_and_kernels_give_the_bits_of_portable_c(
    name: str, tmp_path: Path, plugin: Path
) -> None:
    core = CORES[name]
    if core.cross == ARM:
        tool(f"{core.cross}gcc")
        tool(count.emulator(core))
    elif not count.available(core):
        pytest.skip(f"{core.cross}gcc or {count.emulator(core)} is not installed")
    elf = count.build(name, tmp_path)
    kernels, regions = count.run(name, elf, plugin)  # raises without CHECK OK
    assert kernels == BASELINE[name]["kernels"]
    assert count.run(name, elf, plugin) == (kernels, regions), "a repeat gave other counts"
    now = count.summarize(name, tmp_path, kernels, regions)
    now |= count.count_frame(name, tmp_path, plugin)
    now |= count.count_signature(name, tmp_path / "signature", plugin)
    if now["compiler"] != BASELINE[name]["compiler"]:
        pytest.skip(f"the baseline is of {BASELINE[name]['compiler']}, here is {now['compiler']}")
    moved = count.changes(now, BASELINE[name])
    assert not moved, (
        f"{name}: {'; '.join(moved)}. Where that is meant, make it the baseline with "
        "`python -m firmware.count.count --accept` and commit firmware/count/baseline.json"
    )


def test_a_change_of_half_a_percent_is_seen() -> None:
    was = {"compiler": "gcc", "lif_per_neuron": 8.0, "kernels": "C", "text_bytes": {"core": 1}}
    assert count.changes(was, was) == []
    assert count.changes({**was, "lif_per_neuron": 8.03}, was) == []
    assert count.changes({**was, "lif_per_neuron": 8.05}, was) != []
    assert count.changes({**was, "lif_per_neuron": 7.95}, was) != []
    assert count.changes({**was, "lif_per_neuron": 9.0, "compiler": "clang"}, was) == []


@pytest.mark.parametrize("name", CORES)
def test_the_baseline_is_within_every_target_but_the_one_of_a_whole_l2mu(name: str) -> None:
    table = count.table({name: BASELINE[name]})
    misses = [line for line in table.splitlines() if "misses" in line]
    assert [line for line in misses if "l2mu_step_by_kernels" not in line] == []
    for key in count.MARKS[name].target:
        assert key in table
