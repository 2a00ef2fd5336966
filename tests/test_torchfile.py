"""What the reader of PyTorch checkpoints reads, and that it refuses every other file in words."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import (
    Program,
    Raw,
    Tensor,
    l2mu_state,
    name,
    write_archive,
    write_legacy,
    write_torch,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.converters.l2mu import read_l2mu
from edgesnn.converters.torchfile import read_torch
from edgesnn.errors import EdgesnnError, FormatError, MissingError
from edgesnn.zoo.basicmotions import CHECKPOINT

VERSION_2 = b"\x80\x02"
MEMORY = 32 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def read(file: Path, obj: object) -> Any:
    return read_torch(write_torch(file, obj))


def refusal(file: Path, error: type[EdgesnnError] = FormatError) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(error) as caught:
        read_torch(file)
    text = str(caught.value)
    assert str(file) in text
    assert "\n" not in text
    return text


def outcome(read: Callable[[Path], object], file: Path) -> str:
    """What it was refused with, or nothing."""
    try:
        read(file)
    except EdgesnnError as error:
        return str(error)
    return ""


def assert_read_or_refused(read: Callable[[Path], object], file: Path) -> None:
    """No exception but the project's, in one line, and no more memory than a file should take."""
    tracemalloc.start()
    message = outcome(read, file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in message
    assert peak < MEMORY


def text(value: str) -> bytes:
    return Program(value).pickled[2:-1]


# what it reads


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_every_kind_of_number_keeps_its_type_and_values(file: Path, dtype: str) -> None:
    values = np.array([[0, 1, 7], [100, 3, 2]]).astype(dtype)
    array = read(file, values)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)


def test_bfloat16_becomes_the_same_number_in_float32(file: Path) -> None:
    bits = np.array([0x3FC0, 0xC000, 0x0001], np.uint16)
    array = read(file, Tensor(bits, storage="BFloat16Storage"))
    assert array.dtype == np.float32
    assert array.tolist() == [1.5, -2.0, 2.0**-133]


def test_a_tensor_without_axes_is_a_number(file: Path) -> None:
    array = read(file, np.float32(0.875))
    assert array.shape == ()
    assert float(array) == 0.875


def test_a_transposed_tensor_is_read_by_its_strides(file: Path) -> None:
    array = read(file, Tensor(np.arange(6.0), size=(2, 3), stride=(1, 2)))
    assert array.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_a_slice_starts_at_its_offset(file: Path) -> None:
    array = read(file, Tensor(np.arange(10), offset=3, size=(3,), stride=(2,)))
    assert array.tolist() == [3, 5, 7]


def test_an_empty_tensor_keeps_its_shape(file: Path) -> None:
    assert read(file, np.zeros((0, 4), np.float32)).shape == (0, 4)


def test_a_parameter_is_its_tensor(file: Path) -> None:
    assert read(file, Tensor(np.arange(3), parameter=True)).tolist() == [0, 1, 2]


def test_nested_containers_keep_their_form(file: Path) -> None:
    obj = {"a": [1, (2.5, None), [], True], "b": OrderedDict(c=-(2**40)), 7: "µ"}
    assert read(file, obj) == obj


def test_tensors_share_a_storage_and_cannot_be_written(file: Path) -> None:
    shared = Program(Tensor(np.arange(4.0), key="0")).pickled[2:-1]
    write_torch(file, {"first": np.zeros(4), "again": [Raw(shared), Raw(shared)]})
    with pytest.raises(ValueError, match="read-only"):
        read_torch(file)["again"][0][0] = 1


def test_a_lightning_checkpoint_is_read_with_its_hyperparameters(file: Path) -> None:
    kind = name("pytorch_lightning.utilities.parsing", "AttributeDict")
    attributes = Raw(kind + b")\x81}(" + text("order") + b"G" + struct.pack(">d", 7.0) + b"ub")
    parameters = Raw(kind + b")\x81(" + text("order") + b"G" + struct.pack(">d", 7.0) + b"u")
    metadata = name("collections", "OrderedDict") + b")R}(" + text("_metadata") + b"}ub"
    obj = {
        "epoch": 12,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": OrderedDict(weight=np.ones((2, 3), np.float32)),
        "optimizer_states": [{"state": {0: {"step": np.float32(3)}}}],
        "callbacks": {"ModelCheckpoint{'monitor': 'val_acc'}": {"best": np.float32(0.9)}},
        "metadata": Raw(metadata),
        "attributes": attributes,
        "hyper_parameters": parameters,
    }
    loaded = read(file, obj)
    assert loaded["state_dict"]["weight"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert loaded["optimizer_states"][0]["state"][0]["step"] == 3
    assert loaded["hyper_parameters"] == {"order": 7.0}
    assert loaded["metadata"] == loaded["attributes"] == {}


def test_a_file_that_pytorch_wrote_is_read() -> None:
    loaded = read_torch(CHECKPOINT)
    assert loaded["classes"] == ["Badminton", "Running", "Standing", "Walking"]
    assert loaded["state_dict"]["l2mu_cell.B.weight"].shape[1] == 1


# code in a file


class Runs:
    """Pickles as a call of a function."""

    def __init__(self, function: object, *args: object) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_by_its_name(file: Path, protocol: int) -> None:
    proof = file.with_name("proof")
    pickled = pickle.dumps(Runs(os.system, f"touch {proof}"), protocol)
    pickle.loads(pickled)
    assert proof.exists()
    proof.unlink()
    write_archive(file, {"data.pkl": pickled})
    assert f"'{os.system.__module__}.system'" in refusal(file)
    assert not proof.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_evaluates_python_is_refused(file: Path, protocol: int) -> None:
    proof = file.with_name("proof")
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"
    write_archive(file, {"data.pkl": pickle.dumps(Runs(eval, code), protocol)})
    assert "eval'" in refusal(file)
    assert not proof.exists()


@pytest.mark.parametrize("call", [b"(%sios\nsystem\n", b"(cos\nsystem\n%so"])
def test_older_opcodes_run_nothing_either(file: Path, call: bytes) -> None:
    proof = file.with_name("proof")
    write_torch(file, {"weight": Raw(call % text(f"touch {proof}"))})
    assert refusal(file)
    assert not proof.exists()


def test_functions_of_pytorch_and_of_edgesnn_are_not_callable_either(file: Path) -> None:
    for module, function in (("torch.hub", "load"), ("edgesnn.sources", "read_network")):
        write_torch(file, Raw(name(module, function) + b")R"))
        assert f"'{module}.{function}'" in refusal(file)


def test_a_pickle_cannot_set_attributes(file: Path) -> None:
    """Python's own unpickler lets BUILD do it to whatever the file can name."""
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    attributes = b"N}(" + text("__doc__") + text("owned") + b"u\x86b"
    write_torch(file, [Raw(rebuild + attributes)])
    assert read_torch(file)[0].__doc__ != "owned"


# damaged and hostile files


def test_a_file_of_pytorch_before_1_6_holds_the_same(file: Path) -> None:
    state = l2mu_state(encoder=(5,))
    read = read_torch(write_legacy(file, {"state_dict": state, "epoch": 3}))
    assert read["epoch"] == 3
    assert list(read["state_dict"]) == list(state)
    for key, value in state.items():
        np.testing.assert_array_equal(read["state_dict"][key], value)


def test_a_file_of_pytorch_before_1_6_cut_or_flipped_is_read_or_refused(file: Path) -> None:
    whole = write_legacy(file, l2mu_state()).read_bytes()
    rng = np.random.default_rng(0)
    for length in range(40, len(whole), 60):
        file.write_bytes(whole[:length])
        refusal(file)
    for place in rng.integers(0, len(whole), 300):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        assert_read_or_refused(read_torch, file)


def test_a_file_of_pytorch_before_1_6_cannot_run_code_or_claim_memory(file: Path) -> None:
    write_legacy(file, Raw(name("os", "system") + b"X\x02\x00\x00\x00ls\x85R"))
    assert "asks to run 'os.system'" in refusal(file)
    write_legacy(file, Tensor(np.zeros(1, np.float32), count=1 << 40))
    assert "claims to hold more" in refusal(file)


def test_an_empty_file_is_refused(file: Path) -> None:
    file.write_bytes(b"")
    assert "no whole PyTorch checkpoint" in refusal(file)


def test_a_file_cut_short_anywhere_is_refused(file: Path) -> None:
    whole = write_torch(file, {"state_dict": l2mu_state()}).read_bytes()
    for length in range(0, len(whole), 50):
        file.write_bytes(whole[:length])
        assert "no whole PyTorch checkpoint" in refusal(file)


def test_a_flipped_bit_of_a_weight_is_noticed(file: Path) -> None:
    weights = np.arange(100, dtype=np.float32)
    content = bytearray(write_torch(file, weights).read_bytes())
    content[bytes(content).index(weights.tobytes()) + 201] ^= 4
    file.write_bytes(content)
    assert "CRC-32" in refusal(file)


def test_a_zip_archive_of_something_else_is_refused(file: Path) -> None:
    write_archive(file, {"readme.txt": b"nothing"})
    assert "data.pkl" in refusal(file)


def test_a_compressed_archive_is_refused_before_it_unpacks(file: Path) -> None:
    bomb = {"data.pkl": Program({}).pickled, "data/0": bytes(64 << 20)}
    write_archive(file, bomb, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    assert "compressed" in refusal(file)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_parts_that_lie_over_each_other_are_refused(file: Path) -> None:
    """The directory of a zip archive may name the same bytes often, as if they were many."""
    parts = {"data.pkl": Program({}).pickled, "data/000": bytes(10_000)}
    content = write_archive(file, parts).read_bytes()
    start, end = content.rindex(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry, last = content[start:end], bytearray(content[end:])
    copies = b"".join(entry.replace(b"data/000", b"data/%03d" % n) for n in range(1, 100))
    size = len(content[content.index(b"PK\x01\x02") : end] + copies)
    last[8:16] = struct.pack("<HHI", 101, 101, size)
    file.write_bytes(content[:end] + copies + last)
    assert "more than it does" in refusal(file)


def test_a_part_that_claims_more_than_the_file_holds_is_refused(file: Path) -> None:
    content = bytearray(write_torch(file, np.zeros(3)).read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.index(b"archive/data/0", 400))
    content[entry + 20 : entry + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    file.write_bytes(content)
    assert "more than it does" in refusal(file)


def test_a_file_of_a_big_endian_machine_is_refused(file: Path) -> None:
    write_archive(file, {"data.pkl": Program({}).pickled, "byteorder": b"big"})
    assert "big-endian" in refusal(file)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(np.zeros(4), count=5),
        Tensor(np.zeros(4), count=3),
        Tensor(np.zeros(4), storage="FloatStorage"),
        Tensor(np.zeros(4), key="../../../../etc/passwd"),
        Tensor(np.zeros(4), key="../data.pkl"),
        Tensor(np.zeros(4), storage="QInt8Storage"),
    ],
    ids=["too short", "too long", "of another type", "outside", "another part", "of no known type"],
)
def test_a_storage_that_is_not_as_declared_is_refused(file: Path, tensor: Tensor) -> None:
    assert refusal(write_torch(file, tensor))


def test_a_storage_that_is_not_there_is_refused(file: Path) -> None:
    write_archive(file, {"data.pkl": Program(np.zeros(4)).pickled})
    assert "archive/data/0" in refusal(file)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (0, (2,), (-1,)),
        (3, (2,), (-3,)),
        (-1, (2,), (1,)),
        (1 << 62, (1,), (1,)),
        (0, (1 << 40,), (0,)),
        (0, (2, 1 << 40), (1, 0)),
        (0, (-1,), (1,)),
        (0, (2, 2), (1,)),
        (0, (2,), (1 << 63,)),
        (0, (3,), ((1 << 63) - 1,)),
        (0, (1 << 32, 1 << 32), (1, 1)),
        (0, (1,) * 70, (1,) * 70),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(
    file: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    write_torch(file, Tensor(np.zeros(4), offset=offset, size=size, stride=stride))
    assert "tensor" in refusal(file) or "zip()" in refusal(file)


def test_a_dictionary_does_not_pass_for_a_storage(file: Path) -> None:
    """With Python's unpickler it does, and reads memory that is not the file's."""
    empty = Program(Tensor(np.zeros(1), size=(10**9, 0))).pickled[2:-1]
    posing = name("collections", "OrderedDict") + b")R}(" + text("values") + empty + b"ub"
    arguments = Program((Raw(posing), 0, (10**9,), (1,), False, None)).pickled[2:-1]
    opcodes = name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"
    parts = {"data.pkl": VERSION_2 + opcodes + b".", "data/0": bytes(8)}
    assert "storage" in refusal(write_archive(file, parts))


def test_a_tensor_does_not_pass_for_a_shape(file: Path) -> None:
    """NumPy's integers wrap around, and would hide that a stride leaves the storage."""
    largest = Tensor(np.array([(1 << 63) - 1]), key="0")
    stride = Raw(name("torch", "Size") + b"(" + Program(largest).pickled[2:-1] + b"tR")
    write_torch(file, [largest, Tensor(np.zeros(99), size=(3,), stride=stride)])
    assert "tensor" in refusal(file)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"}" + b")" + b"\x85" * 50_000 + b"Ns",
        b"}" + b")" + b"q\x00h\x00\x86" * 60 + b"Ns",
        b"]" * 50_000 + b"a" * 49_999,
        b"}r\xff\xff\xff\x7f",
        b"X\xff\xff\xff\xffabc",
        b"\x8a\xffabc",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b")" + b"q\x00h\x00\x86" * 60 + b"K\x01R",
        b")" + b"q\x00h\x00\x86" * 60 + b"Q",
        b"X\x03\x00\x00\x00a\nbX\x01\x00\x00\x00c\x93",
        b"K\x01K\x02Q",
        b"NNQ",
        b"tttt",
        b"a",
        b"h\x09",
        b"\xff",
        b"",
    ],
    ids=[
        "a name nested too deep to hash",
        "a name that unfolds to 2**60 parts",
        "lists nested deep",
        "a memo of 2**31 entries",
        "text longer than the file",
        "a number longer than the file",
        "bytes longer than the file",
        "a call of what unfolds to 2**60 parts",
        "a storage that unfolds to 2**60 parts",
        "a name with a line break",
        "a number for a storage",
        "nothing for a storage",
        "tuples of nothing",
        "an entry for nothing",
        "an entry of the memo that is not there",
        "no opcode",
        "no object",
    ],
)
def test_a_hostile_pickle_is_refused_or_harmless(file: Path, opcodes: bytes) -> None:
    write_archive(file, {"data.pkl": VERSION_2 + opcodes + b"."})
    assert_read_or_refused(read_torch, file)


def test_a_storage_that_is_named_often_is_read_once(file: Path) -> None:
    values = np.zeros(1 << 17)
    tensor = Program(values).pickled[2:-1]
    parts = {"data.pkl": VERSION_2 + b"](" + tensor * 2000 + b"e.", "data/0": values.tobytes()}
    write_archive(file, parts)
    tracemalloc.start()
    assert len(read_torch(file)) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


def test_a_file_that_is_not_there_is_missing(file: Path) -> None:
    assert "No such file" in refusal(file, MissingError)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path, MissingError)


def small_checkpoint() -> bytes:
    buffer = io.BytesIO()
    write_torch(buffer, {"state_dict": l2mu_state(encoder=(3,))})  # type: ignore[arg-type]
    return buffer.getvalue()


CHECKPOINT_BYTES = small_checkpoint()
FLIPS = st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 255)), min_size=1, max_size=4)


def flipped(content: bytes, flips: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for place, bits in flips:
        changed[place % len(changed)] ^= bits
    return bytes(changed)


@settings(max_examples=300, deadline=None)
@given(FLIPS)
def test_any_flipped_bytes_of_a_file_are_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "flipped.pt"
    file.write_bytes(flipped(CHECKPOINT_BYTES, flips))
    assert_read_or_refused(read_l2mu, file)


@settings(max_examples=300, deadline=None)
@given(FLIPS)
def test_any_flipped_bytes_of_a_pickle_are_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    """As above with the check sums right, so that the bytes reach what interprets them."""
    file = tmp_path_factory.getbasetemp() / "flipped.pt"
    with zipfile.ZipFile(io.BytesIO(CHECKPOINT_BYTES)) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    parts["archive/data.pkl"] = flipped(parts["archive/data.pkl"], flips)
    write_archive(file, {part.removeprefix("archive/"): parts[part] for part in parts})
    assert_read_or_refused(read_l2mu, file)
