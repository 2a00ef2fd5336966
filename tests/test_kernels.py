"""Every processor gets the kernels that are meant for it, and all of them compile strictly.

That they compute what the portable C computes is in test_count.py, which runs them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from native import CORE, FIRMWARE, STRICT, call, tool

DSP = "ESNN_KERNELS_DSP"
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
