"""A graph survives its bytes; damaged bytes are refused."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from graphs import graphs, graphs_and_frames
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn import blob, reference, runtime
from edgesnn.errors import FormatError, MissingError
from edgesnn.graph import Graph, Int16Array


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_any_graph_comes_back_identical(graph: Graph) -> None:
    assert blob.unpack(blob.pack(graph)).graph == graph


@settings(max_examples=100, deadline=None)
@given(graphs_and_frames(samples=1, steps=5))
def test_a_self_test_comes_back_and_gives_its_digest(case: tuple[Graph, Int16Array]) -> None:
    graph = reference.with_selftest(case[0], case[1][0])
    again = blob.unpack(blob.pack(graph)).graph
    assert again == graph
    assert again.selftest is not None
    assert again.selftest.digest == reference.selftest_digest(again, again.selftest.frames)


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_the_image_alone_is_a_model_with_numbers_for_names(graph: Graph) -> None:
    model = blob.unpack(blob.pack_image(graph))
    assert blob.pack_image(model.graph) == model.image
    assert runtime.check(model.image)["arena_bytes"] == model.arena_bytes


@settings(max_examples=200, deadline=None)
@given(graphs(), st.data())
def test_a_changed_byte_is_refused(graph: Graph, data: st.DataObject) -> None:
    whole = bytearray(blob.pack(graph, {"classes": ["a", "b"]}))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        blob.unpack(bytes(whole))


@settings(max_examples=1000, deadline=None)
@given(graphs(), st.data())
def test_a_changed_byte_with_a_sound_crc_is_a_verdict_and_never_a_crash(
    graph: Graph, data: st.DataObject
) -> None:
    image = bytearray(blob.pack_image(graph))
    at = data.draw(st.integers(blob.CRC_START, min(len(image), 600) - 1))
    image[at] = data.draw(st.one_of(st.integers(0, 8), st.integers(0, 255)))
    struct.pack_into("<I", image, 12, zlib.crc32(image[blob.CRC_START :]))
    with contextlib.suppress(FormatError):
        assert blob.unpack(bytes(image)).image == image


@settings(max_examples=200, deadline=None)
@given(graphs(), st.data())
def test_a_file_that_is_cut_short_is_refused(graph: Graph, data: st.DataObject) -> None:
    whole = blob.pack(graph)
    cut = data.draw(st.integers(0, len(whole) - 1))
    if cut != len(blob.pack_image(graph)):  # there it is a whole image without notes
        with pytest.raises(FormatError):
            blob.unpack(whole[:cut])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_verdict_and_never_a_crash(data: bytes) -> None:
    with pytest.raises(FormatError):
        blob.unpack(b"ESNN" + data)


def test_a_file_keeps_graph_and_notes(tmp_path: Path) -> None:
    graph = Graph(*_tiny())
    blob.save(tmp_path / "m.esnn", graph, {"classes": ["standing"], "report": {"source": "x"}})
    model = blob.load(tmp_path / "m.esnn")
    assert model.graph == graph
    assert model.classes == ("standing",)
    assert model.notes["report"] == {"source": "x"}
    assert [p.name for p in tmp_path.iterdir()] == ["m.esnn"]


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"cannot read .*nothing\.esnn"):
        blob.load(tmp_path / "nothing.esnn")
    with pytest.raises(MissingError, match="choose another folder"):
        blob.save(tmp_path / "no" / "m.esnn", Graph(*_tiny()))


@pytest.mark.parametrize("notes", ["[]", '{"classes": 5}', '{"names": [1, 2]}', "not JSON"])
def test_notes_of_another_form_are_refused(notes: str) -> None:
    image = blob.pack_image(Graph(*_tiny()))
    text = notes.encode()
    head = blob.NOTES_HEADER.pack(blob.NOTES_MAGIC, len(text), zlib.crc32(text))
    with pytest.raises(FormatError, match="damaged notes"):
        blob.unpack(image + head + text)


def test_another_format_version_is_refused_by_number() -> None:
    image = bytearray(blob.pack_image(Graph(*_tiny())))
    image[4] = 99
    with pytest.raises(FormatError, match="format version 99, this edgesnn reads 2"):
        blob.unpack(bytes(image))


def _tiny() -> tuple:  # type: ignore[type-arg]
    from edgesnn.graph import LIF, SpikeCount, SpikeInput

    zero = np.zeros(1, np.int32)
    neuron = LIF("out", np.zeros(1, np.uint16), zero, zero)
    return SpikeInput("input", 1), (neuron,), (), SpikeCount("out")
