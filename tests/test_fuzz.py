"""A minute of coverage-guided fuzzing of every entry point; `make fuzz` goes on for longer."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import fuzzing
import pytest
from native import tool

SECONDS = 60


@pytest.fixture(scope="module")
def under_way(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """All of them at once: they share nothing."""
    tool("clang")
    folder = tmp_path_factory.mktemp("fuzz")
    limit = f"-max_total_time={SECONDS}"
    started = {name: fuzzing.start(name, folder, limit) for name in fuzzing.HARNESSES}
    yield started
    for process in started.values():
        process.kill()


@pytest.mark.parametrize(
    ("name", "least"), [("image", 10_000), ("packet", 100_000), ("talk", 1000)]
)
def test_nothing_is_found(
    name: str, least: int, under_way: dict[str, subprocess.Popen[str]]
) -> None:
    fuzzed = fuzzing.wait(under_way[name])
    assert not fuzzed.failed, fuzzed.said
    assert fuzzed.runs > least
    assert fuzzed.stepped > least / 10 if name == "image" else fuzzed.stepped == 0


def test_a_fault_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder with one bound gone."""
    source = fuzzing.FIRMWARE / "app" / "packet.c"
    text = source.read_text()
    assert "d->capacity" in text
    broken = tmp_path / "packet.c"
    broken.write_text(text.replace("d->capacity", "(d->capacity + 1u)"))
    harness = (fuzzing.HARNESSES["packet"][0], broken)
    monkeypatch.setitem(fuzzing.HARNESSES, "packet", harness)
    fuzzed = fuzzing.wait(fuzzing.start("packet", tmp_path, "-max_total_time=60"))
    assert fuzzed.failed
    assert "heap-buffer-overflow" in fuzzed.said
