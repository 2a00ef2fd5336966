"""docs/SECURITY.md names a test for each promise; they are there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parent / "docs" / "SECURITY.md").read_text()


def test_every_promise_names_tests_that_there_are() -> None:
    promises = re.findall(r"^\| (\d+) \|.*$", PAGE, re.MULTILINE)
    assert promises == [str(k + 1) for k in range(len(promises))]
    for line in re.findall(r"^\| \d+ \|.*$", PAGE, re.MULTILINE):
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", line)
        assert named, line
        for file, name in named:
            assert re.search(rf"^def {name}\(", (HERE / file).read_text(), re.MULTILINE), name
