"""Models and sessions that earlier versions wrote: read as ever, or refused by their version.

The files of tests/golden/formats stay as they were written (tests/golden/formats.py).
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesnn import blob, reference, runtime
from edgesnn.devices import log
from edgesnn.devices.record import replay
from edgesnn.errors import FormatError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "golden"))
FOLDER = HERE / "golden" / "formats"
DIGESTS = json.loads((FOLDER / "digests.json").read_text())
MODELS = {2: sorted(FOLDER.glob("model-2-*.esnn"))}
"""By each version of the format that is read."""


@pytest.mark.parametrize("version", range(1, blob.VERSION + 1))
def test_a_model_of_a_version_is_read_or_refused_by_name(version: int) -> None:
    assert len(MODELS.get(version, [])) + len(list(FOLDER.glob(f"model-{version}.esnn"))) > 0
    for path in FOLDER.glob(f"model-{version}*.esnn"):
        data = path.read_bytes()
        assert struct.unpack_from("<H", data, 4) == (version,)
        image = data[: struct.unpack_from("<I", data, 8)[0]]
        if version in MODELS:
            assert blob.load(path).image == image
            continue
        with pytest.raises(FormatError, match=rf"version {version}, .* reads {blob.VERSION}"):
            blob.load(path)
        with pytest.raises(FormatError, match="another format version"):
            runtime.check(image)


@pytest.mark.parametrize("path", MODELS[2], ids=lambda path: path.stem)
def test_a_model_gives_the_digest_that_it_gave(path: Path) -> None:
    model = blob.load(path)
    assert model.notes["classes"] == ["a", "b"]
    selftest = model.graph.selftest
    assert selftest is not None
    frames = np.asarray(selftest.frames)
    assert reference.selftest_digest(model.graph, frames) == DIGESTS[path.name]
    steps = reference.steps(model.graph, frames[np.newaxis])
    on_core = runtime.run(model.image, frames[np.newaxis], threads=1)
    assert [state.digest(0) for state in steps] == on_core.digests[0].tolist()


def test_the_models_have_every_kind_of_record() -> None:
    from formats import operations

    found = set().union(*(operations(blob.load(path).graph) for path in MODELS[2]))

    def kinds(what: str) -> set[str]:
        return {name.split(" ")[1] for name in found if name.startswith(what)}

    assert kinds("population") == set("01234567")
    assert kinds("projection") == set("0123456")
    assert kinds("readout") == set("0123")


@pytest.mark.parametrize("version", range(1, log.VERSION + 1))
def test_a_session_is_read_and_gives_its_answers_again(version: int) -> None:
    recorded = log.read(FOLDER / f"session-{version}.esnl")
    assert recorded.closed
    for backend in ("core", "reference"):
        again = replay(recorded, backend)
        assert (again.frames, again.answers, again.different) == (16, 16, [])


@pytest.mark.parametrize(
    ("name", "read", "version"),
    [("model-2-1.esnn", blob.load, blob.VERSION), ("session-1.esnl", log.read, log.VERSION)],
)
def test_a_later_version_is_refused_by_name(
    name: str, read: Callable[[Path], object], version: int, tmp_path: Path
) -> None:
    data = bytearray((FOLDER / name).read_bytes())
    assert struct.unpack_from("<H", data, 4) == (version,)
    struct.pack_into("<H", data, 4, version + 1)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=rf"version {version + 1}, this edgesnn reads {version}"):
        read(tmp_path / name)
