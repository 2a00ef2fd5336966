"""Make a golden model of every kind of operation, and a session, in the newest formats.

    python tests/golden/formats.py

Writes what tests/golden/formats lacks and changes nothing there: what a released version has
written stays as it was, and goes on to be read (tests/test_compatibility.py). Run it after a format
got a new version or a model a new kind of operation.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import graphs  # noqa: E402

from edgesnn import blob, reference  # noqa: E402
from edgesnn.devices import log, open_transport  # noqa: E402
from edgesnn.devices.board import Board  # noqa: E402
from edgesnn.devices.record import record  # noqa: E402
from edgesnn.graph import Graph, Int16Array  # noqa: E402

FOLDER = HERE / "formats"
DIGESTS = FOLDER / "digests.json"
STEPS = 16
LARGEST = 2500
"""Bytes of an image."""


def operations(graph: Graph) -> set[str]:
    """Kinds of record in the image of a graph, and of its arrays."""
    image = blob.pack_image(graph)
    header = blob.HEADER.unpack_from(image)
    n_populations, n_projections, populations, projections = header[7:11]
    readout, mode = header[12:14]
    found = {f"readout {readout}", f"readout {readout} mode {mode if readout == 1 else 0}"}
    for k in range(n_populations):
        kind, bits = image[populations + 64 * k : populations + 64 * k + 2]
        found.add(f"population {kind} {'values' if bits else 'spikes'}")
    for k in range(n_projections):
        found.add(f"projection {image[projections + 48 * k]}")
    return found


def models() -> dict[str, tuple[Graph, Int16Array]]:
    """Small graphs that together have every kind of record, with frames, by name of a file."""
    chosen: dict[str, tuple[Graph, Int16Array]] = {}
    seen: set[str] = set()
    for number, (graph, frames) in enumerate(graphs.cases(400, samples=1, steps=STEPS)):
        graph = reference.with_selftest(graph, frames[0])
        new = operations(graph) - seen
        if new and len(blob.pack_image(graph)) <= LARGEST:
            seen |= new
            chosen[f"model-{blob.VERSION}-{number}.esnn"] = graph, frames[0]
    return chosen


def main() -> None:
    """The command line."""
    FOLDER.mkdir(exist_ok=True)
    digests = json.loads(DIGESTS.read_text()) if DIGESTS.is_file() else {}
    session = FOLDER / f"session-{log.VERSION}.esnl"
    for name, (graph, frames) in models().items():
        path = FOLDER / name
        if not path.exists():
            blob.save(path, graph, {"classes": ["a", "b"]})
            assert graph.selftest is not None
            digests[name] = graph.selftest.digest
        if not session.exists():
            model = blob.load(path)
            with (
                Board(open_transport("virtual://")) as board,
                log.LogWriter.create(session, model, source="golden", period=0.0) as writer,
            ):
                board.put_model(model)
                writer.board(board, "virtual://")
                writer.note("remark", text="golden")
                for _ in record(board, writer, 0, frames):
                    pass
                writer.closed()
    DIGESTS.write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
