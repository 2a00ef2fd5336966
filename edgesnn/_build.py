"""Builds `edgesnn._core`, the C core and the virtual board, as an extension (cffi, API mode)."""

from __future__ import annotations

import runpy
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("firmware/core", "firmware/app", "firmware/signature", "firmware/boards/virtual")
FETCH = runpy.run_path(str(ROOT / "firmware" / "signature" / "fetch.py"))
MONOCYPHER = FETCH["fetch"]().relative_to(ROOT)
# relative to setup.py: setuptools takes no other sources into an sdist
SOURCES = [
    "edgesnn/batch.c",
    str(MONOCYPHER / "monocypher.c"),
    *sorted(str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).glob("*.c")),
]

ffibuilder = FFI()
ffibuilder.cdef(
    """
    typedef struct {
        uint32_t image_bytes, arena_bytes, step_us;
        uint16_t n_populations, input_size, n_scores;
        uint8_t analog_input;
    } esnn_info;
    typedef struct {
        int32_t *scores;
        uint16_t *step_labels;
        uint32_t *digests;
        uint64_t *synops, *macs, *spikes;
        uint8_t *raster;
        size_t raster_width;
    } esnn_batch_out;
    typedef struct { uint8_t *arena; ...; } esnn_model;
    typedef struct { uint16_t flags; ...; } esnn_slot;
    enum { ESNN_SATURATES, ESNN_FREE, ... };
    typedef struct {
        const int32_t *scores;
        uint16_t n_scores, label;
        uint32_t step, spikes, synops, macs;
    } esnn_result;
    int esnn_check(const void *image, size_t size, esnn_info *info);
    int esnn_load(esnn_model *m, const void *image, size_t size, void *arena, size_t arena_size);
    int esnn_step(esnn_model *m, const int16_t *frame, esnn_result *out);
    void esnn_reset(esnn_model *m);
    const char *esnn_kernel_name(void);
    int esnn_batch(const void *image, size_t size, void *arena, size_t arena_size,
                   const int16_t *frames, size_t samples, size_t steps, const esnn_batch_out *out);
    int virtual_board_run(int fd, size_t model_size, size_t arena_size, const char *flash_path);
    """
)
ffibuilder.set_source(
    "edgesnn._core",
    '#include "esnn_internal.h"\n#include "batch.h"\n#include "virtual.h"\n',
    sources=SOURCES,
    include_dirs=["edgesnn", *FOLDERS, str(MONOCYPHER)],
    depends=[str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).glob("*.h")],
    extra_compile_args=["-std=c99", "-O3", "-DESNN_HOST"],
)
