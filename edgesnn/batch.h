/* Recordings through the core, many samples a call: the host's door to firmware/core.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_BATCH_H
#define ESNN_BATCH_H

#include "esnn.h"

/* Where a batch's answers go, sample by sample. digests, leads and raster may be NULL. */
typedef struct {
    int32_t *scores;                  /* (samples, n_scores), after the last step */
    uint16_t *step_labels;            /* (samples, steps) */
    uint32_t *digests;                /* (samples, steps) */
    uint64_t *synops, *macs, *spikes; /* (samples), added to */
    uint64_t *decided;                /* (samples), steps until the answer was decided, 0: never */
    uint32_t *leads;                  /* (samples, steps), of the highest score above the others */
    uint8_t *raster;     /* (samples, steps, raster_width), a 1 where something was emitted */
    size_t raster_width; /* neurons of all populations, the input not counted */
} esnn_batch_out;

/* Run frames (samples, steps, input size), each sample from a reset. */
ESNN_CHECKED esnn_status esnn_batch(const void *image, size_t size, void *arena, size_t arena_size,
                                    const int16_t *frames, size_t samples, size_t steps,
                                    const esnn_batch_out *out);

#endif
