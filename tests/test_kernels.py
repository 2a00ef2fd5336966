"""Every processor gets the kernels that are meant for it, and all of them compile strictly.

The portable C is compared with NumPy here. That the others compute what it computes is in
test_count.py, which runs them.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from native import CORE, FIRMWARE, STRICT, call, tool

DSP = "ESNN_KERNELS_DSP"
MET = 2  # ESNN_MET
EXPECTED = {
    "-mcpu=cortex-m0": "ESNN_KERNELS_THUMB1",
    "-mcpu=cortex-m0plus": "ESNN_KERNELS_THUMB1",
    "-mcpu=cortex-m23": "ESNN_KERNELS_THUMB1",
    "-mcpu=cortex-m3": "ESNN_KERNELS_THUMB2",
    "-mcpu=cortex-m33+nodsp": "ESNN_KERNELS_THUMB2",
    "-mcpu=cortex-m4": DSP,
    "-mcpu=cortex-m7": DSP,
    "-mcpu=cortex-m33": DSP,
    "-mcpu=cortex-m55 -mfloat-abi=soft": DSP,
    "-mcpu=cortex-m55 -mfloat-abi=hard": "ESNN_KERNELS_MVE",
    "-mcpu=cortex-m55 -mfloat-abi=softfp": "ESNN_KERNELS_MVE",
    "-mcpu=cortex-m55+nofp -mfloat-abi=hard": "ESNN_KERNELS_MVE",
    "-mcpu=cortex-m4 -DESNN_PORTABLE": None,
    "-mcpu=cortex-m55 -mfloat-abi=hard -DESNN_PORTABLE": None,
}
INCLUDE = [f"-I{FIRMWARE / part}" for part in ("core", "boards/freestanding")]
KERNELS = [path for path in CORE if path.stem.startswith("esnn_kernels")]


@pytest.mark.parametrize("flags", EXPECTED)
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
def test_a_processor_gets_its_kernels(tmp_path: Path, flags: str, level: str) -> None:
    compiler = [tool("arm-none-eabi-gcc"), "-mthumb", *flags.split(), "-ffreestanding", *INCLUDE]
    macros = call([*compiler, "-dM", "-E", FIRMWARE / "core" / "esnn_internal.h"]).decode()
    chosen = set(re.findall(r"ESNN_KERNELS_\w+", macros)) - {"ESNN_KERNELS_PACKED"}
    assert chosen == ({EXPECTED[flags]} if EXPECTED[flags] else set())
    out = tmp_path / "kernels.o"
    made = []
    for source in KERNELS:
        call([*compiler, *STRICT, level, "-c", source, "-o", out])
        symbols = call([tool("arm-none-eabi-nm"), out]).decode()
        made += re.findall(r" T (\w+)$", symbols, re.MULTILINE)
    fast = {
        "esnn_clear",
        "esnn_dense_events",
        "esnn_dense4_events",
        "esnn_dense2_events",
        "esnn_lif",
        "esnn_lif_saturating",
        "esnn_blocks_events",
        "esnn_decay",
    }
    assert set(made) >= {f"{name}_portable" for name in fast}
    assert fast & set(made) == (fast if chosen else set())
    assert len(made) == len(set(made))


Array = npt.NDArray[np.int64]


def tiles(weights: Array, bits: int, order: Callable[[int], Array]) -> bytes:
    """Weights (targets, sources) in tiles of rows of 4 words; `order(W)` says where codes lie.

    An order has one row for each word, in it one column for each code from the lowest bits on: the
    target neuron in the tile.
    """
    per_word = 32 // bits
    targets = -(-len(weights) // per_word) * per_word
    codes = np.zeros((targets, weights.shape[1]), np.int64)
    codes[: len(weights)] = weights
    codes += 1 << (bits - 1)
    out = b""
    for start in range(0, targets, 4 * per_word):
        tile = codes[start : start + 4 * per_word]
        words = len(tile) // per_word
        placed = tile[order(words)].astype(np.uint64)  # words, codes, sources
        shifts = np.arange(per_word, dtype=np.uint64)[None, :, None] * np.uint64(bits)
        out += (placed << shifts).sum(axis=1).T.astype("<u4").tobytes()
    return out


def order4(words: int) -> Array:
    j, byte, half = np.ogrid[:words, :4, :2]
    return (4 * j + 2 * (byte & 1) + 4 * words * (byte >> 1) + half).reshape(words, 8)


def order2(words: int) -> Array:
    j, byte, q = np.ogrid[:words, :4, :4]
    return (16 * j + 4 * q + byte).reshape(words, 16)


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    out = tmp_path_factory.mktemp("portable") / "kernels.so"
    call([tool("gcc"), *STRICT, "-O2", "-shared", "-fPIC", INCLUDE[0], *KERNELS, "-o", out])
    return ctypes.CDLL(str(out))


def test_the_portable_kernels_say_so(portable: ctypes.CDLL) -> None:
    portable.esnn_kernel_name.restype = ctypes.c_char_p
    assert portable.esnn_kernel_name() == b"portable C"


def at(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@pytest.mark.parametrize(("bits", "order"), [(4, order4), (2, order2)])
@pytest.mark.parametrize("n_out", [1, 7, 8, 16, 17, 31, 32, 33, 50, 64, 65, 100, 129])
def test_weights_of_few_bits_lie_where_the_header_says(
    portable: ctypes.CDLL, bits: int, order: Callable[[int], Array], n_out: int
) -> None:
    rng = np.random.default_rng(n_out)
    half = 1 << (bits - 1)
    weights = rng.integers(-half, half, (n_out, 40))
    image = np.frombuffer(tiles(weights, bits, order), np.int8)
    for n_events in (1, 5, 40, 300):
        events = np.sort(rng.integers(100, 140, n_events)).astype(np.uint16)
        current = rng.integers(-1000, 1000, n_out).astype(np.int32)
        expected = current + (weights[:, events - 100].sum(axis=1) << 3)
        size = ctypes.c_size_t
        getattr(portable, f"esnn_dense{bits}_events_portable")(
            at(current), at(image), size(40), size(n_out), 3, at(events), size(n_events), 100
        )
        np.testing.assert_array_equal(current, expected)


def test_a_block_gets_its_own_events(portable: ctypes.CDLL) -> None:
    rng = np.random.default_rng(0)
    for n_in, n_out in ((7, 7), (1, 7), (5, 16), (16, 1)):
        weights = rng.integers(-128, 128, (n_in, -(-n_out // 4) * 4)).astype(np.int8)
        spikes = rng.integers(0, 2, (9, n_in))
        events = np.flatnonzero(spikes).astype(np.uint16)
        current = rng.integers(-1000, 1000, (9, n_out)).astype(np.int32)
        expected = current + (spikes @ weights[:, :n_out].astype(np.int64) << 2)
        size, met = ctypes.c_size_t, np.zeros(9, np.uint8)
        portable.esnn_blocks_events_portable(
            at(current), at(weights), size(n_in), size(n_out), 2, at(events), size(len(events)),
            at(met),
        )  # fmt: skip
        np.testing.assert_array_equal(current, expected)
        np.testing.assert_array_equal(met, MET * spikes.any(axis=1))


def test_blocks_decay_until_they_rest_and_are_met_again_after_a_spike(
    portable: ctypes.CDLL,
) -> None:
    rests, decays = 0, 1
    v = np.array([[0, 0], [0, 3], [100, 0], [5, 7]], np.int32)
    current = np.array([[9, 9], [9, 9], [300, 0], [1, 1]], np.int32)
    threshold = np.full_like(v, 200)
    met, events = np.array([decays, decays, MET, MET], np.uint8), np.zeros(8, np.uint16)
    n, size = v.shape[1], ctypes.c_size_t
    fired = portable.esnn_lif_blocks_portable(
        at(v), at(current), at(threshold), 1 << 14, size(len(v)), size(n), at(met), at(events)
    )
    np.testing.assert_array_equal(v, [[0, 0], [0, 2], [350, 0], [4, 5]])
    np.testing.assert_array_equal(met, [rests, decays, MET, decays])
    np.testing.assert_array_equal(events[:fired], [4])


@pytest.mark.parametrize("decay", [0, 1, 16384, 29491, 32767])
def test_a_membrane_decays_with_rounding(portable: ctypes.CDLL, decay: int) -> None:
    rng = np.random.default_rng(decay)
    ends = [0, 1, -1, 2**30 - 1, -(2**30)]
    v = np.concatenate([ends, rng.integers(-(2**30), 2**30, 1000)]).astype(np.int32)
    expected = (v.astype(np.int64) * decay + (1 << 14)) >> 15
    assert portable.esnn_decay_portable(at(v), ctypes.c_size_t(len(v)), decay) != 0
    np.testing.assert_array_equal(v, expected)
    still = np.zeros(5, np.int32)
    assert portable.esnn_decay_portable(at(still), ctypes.c_size_t(5), decay) == 0
