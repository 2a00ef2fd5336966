"""Whatever moment the power goes at in an update, the old or the new model runs afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from native import SANITIZERS, call
from powercut import FLASH, PAGE, UNIT, build, command, random_runs, scenarios


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("powercut"), *SANITIZERS)


@pytest.mark.parametrize(
    ("name", "unit"), [*((name, UNIT) for name in scenarios()), ("good", 16), ("the first one", 16)]
)
def test_power_may_go_at_every_operation_of_the_flash(
    program: Path, tmp_path: Path, name: str, unit: int
) -> None:
    """Before, in the middle of and behind each; in the middle leaves anything behind."""
    said = call(command(program, tmp_path, name, scenarios()[name], unit, "linear", "5"))
    print(said.decode())


@pytest.mark.parametrize("name", ["good", "the first one", "never confirmed", "bad signature"])
def test_any_cell_may_be_worn_out(program: Path, tmp_path: Path, name: str) -> None:
    said = call(command(program, tmp_path, name, scenarios()[name], UNIT, "worn"))
    print(said.decode())


def test_power_may_go_several_times_at_random(tmp_path: Path) -> None:
    runs, cuts = random_runs(build(tmp_path, "-O2"), tmp_path, 8000)
    assert runs >= 8000
    assert cuts > runs  # several a run, although what is refused at once has none


def test_the_harness_notices_a_board_that_is_left_without_a_model(
    program: Path, tmp_path: Path
) -> None:
    """With a scenario that promises too little: a good update, said to be refused."""
    good = scenarios()["good"]
    line = command(program, tmp_path, "good", good, UNIT, "linear", "1")
    line[7] = "old"
    with pytest.raises(pytest.fail.Exception, match=r"the wrong model runs|neither the old nor"):
        call(line)


def test_the_flash_of_the_tests_is_two_pages_and_two_slots() -> None:
    assert FLASH % PAGE == 0
    assert FLASH // PAGE % 2 == 0
