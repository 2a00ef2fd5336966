"""What tests share: a program that takes long to build; recordings and models made elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from nus import build_nus

ROOT = Path(__file__).resolve().parent.parent


def _elsewhere(variable: str, folder: str) -> Callable[[str], Path]:
    root = Path(os.environ.get(variable, ROOT.parent / "shared" / folder))

    def find(name: str) -> Path:
        if not (root / name).exists():
            pytest.skip(f"{name} is not in {variable} or ../shared/{folder}")
        return root / name

    return find


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Path of a recording in `$EDGESNN_DATA` or `../shared/data`; skips the test without it."""
    return _elsewhere("EDGESNN_DATA", "data")


@pytest.fixture(scope="session")
def shared_model() -> Callable[[str], Path]:
    """Path of a model in `$EDGESNN_MODELS` or `../shared/models`; skips the test without it."""
    return _elsewhere("EDGESNN_MODELS", "models")


@pytest.fixture(scope="session")
def nus_programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The stream app behind the Nordic UART Service, for `nus.Program`, by adapter."""
    return build_nus(tmp_path_factory.mktemp("nus"))
