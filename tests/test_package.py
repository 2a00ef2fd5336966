"""What a user installs: a wheel, into an empty environment, without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from a source package made from the tree: what a package index would hold."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_packages_under_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"edgesnn"}
    for name in (
        "converters/l2mu.py",
        "devices/board.py",
        "zoo/basicmotions/l2mu.ckpt",
        "py.typed",
    ):
        assert f"edgesnn/{name}" in names
    assert any(name.startswith("edgesnn/_core") and name.endswith(".so") for name in names)


def test_the_wheel_works_in_an_empty_environment_without_a_compiler(
    wheel: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    bin_folder = tmp_path / "env" / "bin"
    environment = {**os.environ, "CC": "/bin/false"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [bin_folder / command[0], *command[1:]],
            capture_output=True, text=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "install", "--quiet", str(wheel))
    assert "verify" in run("edgesnn", "--help")
    run("python", "-c", "import edgesnn.converters, edgesnn.devices")
    # the virtual board is in the wheel too
    board = "from edgesnn.devices import open_board; print(open_board('virtual').info.name)"
    assert run("python", "-W", "ignore", "-c", board).strip() == "virtual"
