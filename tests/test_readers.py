"""A taste of damaged files for every reader; `make fuzz` shows a million."""

from __future__ import annotations

from pathlib import Path

import readers


def test_a_damaged_file_is_read_or_refused(tmp_path: Path) -> None:
    ended_well, said = readers.show(1000, 1, tmp_path / "file")
    assert ended_well, said
