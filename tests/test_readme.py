"""The README tells the truth: its commands run and its code compiles."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesnn.zoo.basicmotions import CHECKPOINT

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def port() -> Iterator[str]:
    """A serial port with a board at the other end."""
    board = subprocess.Popen(
        [sys.executable, "-m", "edgesnn.devices.virtual"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert board.stdout is not None
    yield board.stdout.readline().strip()
    board.communicate()


def test_every_edgesnn_command_runs_as_written(port: str, tmp_path: Path) -> None:
    lines = [
        line.split("#")[0]
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("edgesnn ")
    ]
    commands = {"convert", "inspect", "run", "stream", "verify", "record", "replay"}
    commands |= {"plot", "devices", "operations", "update", "export", "flash"}
    assert {line.split()[1] for line in lines} == commands
    (tmp_path / "zoo").symlink_to(ROOT / "zoo")
    np.save(tmp_path / "recordings.npy", np.random.default_rng(0).normal(0, 4, (3, 20, 6)))
    for line in lines:
        words = shlex.split(line.replace("/dev/ttyACM0", port))
        words[0] = str(Path(sys.executable).with_name("edgesnn"))
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_its_python_runs_as_written(port: str, tmp_path: Path) -> None:
    (code,) = blocks("python")
    np.save(tmp_path / "recordings.npy", np.random.default_rng(0).normal(0, 4, (3, 20, 6)))
    convert = [Path(sys.executable).with_name("edgesnn"), "convert", CHECKPOINT, "-o", "model.esnn"]
    subprocess.run([*convert, "--calibrate", "recordings.npy"], cwd=tmp_path, check=True)
    (tmp_path / "example.py").write_text(code.replace("/dev/ttyACM0", port))
    run = [sys.executable, "example.py"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [str(k) for k in range(20)]


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_its_costs_are_the_counted_ones() -> None:
    baseline = json.loads((ROOT / "firmware" / "count" / "baseline.json").read_text())["cores"]
    for core, name in (("m0", "M0"), ("m3", "M3"), ("m4", "M4, M33"), ("m55", "M55")):
        counted = baseline[core]
        row = (
            rf"\| Cortex-{name} \| {counted['synop_int8']:.2f} \| [\d.]+ "
            rf"\| {counted['synop_int4']:.2f} "
            rf"\| {counted['lif_per_neuron']:.1f} \| {counted['layer_step_10pct']:,} \|"
        )
        assert re.search(row, README), row


def test_its_c_code_compiles(tmp_path: Path) -> None:
    (code,) = blocks("c")
    includes, arena, body = re.match(  # type: ignore[union-attr]
        r"(#include.*?\n)\n(static.*?\n)(.*)", code, re.DOTALL
    ).groups()
    (tmp_path / "readme.c").write_text(
        f"{includes}#define MODEL_ARENA_BYTES 64\n{arena}"
        "void use(int label, const int32_t *scores);\n"
        "void readme(const void *image, size_t image_size, const int16_t *frame);\n"
        "void readme(const void *image, size_t image_size, const int16_t *frame) {\n"
        f"{body}}}\n"
    )
    compiler = shutil.which("cc") or "gcc"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]
    command = [compiler, *flags, f"-I{ROOT / 'firmware/core'}", "-o", "readme.o", "readme.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_it_points_at_is_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} points at {target}"
