"""Builds `edgesnn._core`, the C core and the virtual board, as an extension (cffi, API mode)."""

from __future__ import annotations

import runpy
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "firmware/core",
    "firmware/app",
    "firmware/signature",
    "firmware/boards/signal",
    "firmware/boards/virtual",
)
FETCH = runpy.run_path(str(ROOT / "firmware" / "signature" / "fetch.py"))
MONOCYPHER = FETCH["fetch"]().relative_to(ROOT)
# relative to setup.py: setuptools takes no other sources into an sdist
SOURCES = [
    "edgesnn/batch.c",
    "edgesnn/fly.c",
    str(MONOCYPHER / "monocypher.c"),
    *sorted(str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).glob("*.c")),
]

HEADERS = ("esnn_internal", "batch", "evolve", "fly", "virtual")

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
        uint64_t *synops, *macs, *spikes, *decided;
        uint32_t *leads;
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
        uint8_t decided;
    } esnn_result;
    int esnn_check(const void *image, size_t size, esnn_info *info);
    int esnn_load(esnn_model *m, const void *image, size_t size, void *arena, size_t arena_size);
    int esnn_step(esnn_model *m, const int16_t *frame, esnn_result *out);
    void esnn_reset(esnn_model *m);
    const char *esnn_kernel_name(void);
    int esnn_batch(const void *image, size_t size, void *arena, size_t arena_size,
                   const int16_t *frames, size_t samples, size_t steps, const esnn_batch_out *out);
    uint32_t blimp_hash(uint32_t seed, uint32_t count);
    typedef struct { ...; } blimp_task;
    typedef struct {
        int32_t tick, error, command, target, height, reference, terms[3];
        ...;
    } blimp_flight;
    typedef struct { ...; } blimp_recorder;
    typedef struct { ...; } evolve_recipe;
    typedef struct { uint32_t bytes, phase, generation; ...; } evolve_state;
    typedef struct { ...; } evolution;
    uint32_t blimp_record(blimp_recorder *r, uint32_t micros, int32_t millimetres, int16_t *out,
                          uint32_t room);
    uint32_t evolve_state_bytes(uint32_t genes);
    int evolve_begin(evolution *e, const evolve_recipe *recipe, size_t bytes, uint8_t *image,
                     size_t image_bytes, evolve_state *state, void *arena, size_t arena_bytes);
    uint32_t evolve_run_for(evolution *e, uint32_t ticks);
    void evolve_finish(evolution *e);
    int blimp_fly(const void *image, size_t size, void *arena, size_t arena_size,
                  const blimp_task *task, const int16_t *track, int32_t role, uint32_t seed,
                  int32_t *trace, uint32_t *loss);
    int virtual_board_run(int fd, size_t model_size, size_t arena_size, const char *flash_path);
    """
)
ffibuilder.set_source(
    "edgesnn._core",
    "".join(f'#include "{name}.h"\n' for name in HEADERS),
    sources=SOURCES,
    include_dirs=["edgesnn", *FOLDERS, str(MONOCYPHER)],
    depends=[str(p.relative_to(ROOT)) for f in FOLDERS for p in (ROOT / f).glob("*.h")],
    extra_compile_args=["-std=c99", "-O3", "-DESNN_HOST"],
)
