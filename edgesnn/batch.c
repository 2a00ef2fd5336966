/* SPDX-License-Identifier: Apache-2.0 */
#include "batch.h"

#include <string.h>

/* the populations lie side by side in a row of the raster */
static void draw_raster(const esnn_model *m, const esnn_info *info, uint8_t *row) {
    for (uint16_t k = 1; k < info->n_populations; k++) {
        const uint16_t *events;
        const size_t n = esnn_events(m, k, &events);
        const int16_t *values;
        const size_t size = esnn_values(m, k, &values);
        for (size_t e = 0; e < n; e++) {
            row[events[e]] = 1;
        }
        for (size_t j = 0; j < size; j++) {
            row[j] = values[j] != 0;
        }
        row += esnn_size(m, k);
    }
}

/* how far the highest score is above every other */
static uint32_t lead(const esnn_result *r) {
    int32_t second = INT32_MIN;
    for (uint16_t k = 0; k < r->n_scores; k++) {
        if (k != r->label && r->scores[k] > second) {
            second = r->scores[k];
        }
    }
    return (uint32_t)r->scores[r->label] - (uint32_t)second;
}

esnn_status esnn_batch(const void *image, size_t size, void *arena, size_t arena_size,
                       const int16_t *frames, size_t samples, size_t steps,
                       const esnn_batch_out *out) {
    esnn_model m;
    esnn_info info;
    esnn_result result;
    esnn_status status = esnn_check(image, size, &info);
    if (status == ESNN_OK) {
        status = esnn_load(&m, image, size, arena, arena_size);
    }
    if (status != ESNN_OK) {
        return status;
    }
    for (size_t s = 0; s < samples; s++) {
        esnn_reset(&m);
        for (size_t t = 0; t < steps; t++) {
            const size_t at = s * steps + t;
            status = esnn_step(&m, frames + at * info.input_size, &result);
            if (status != ESNN_OK) {
                return status;
            }
            out->step_labels[at] = result.label;
            out->synops[s] += result.synops;
            out->macs[s] += result.macs;
            out->spikes[s] += result.spikes;
            if (result.decided && out->decided[s] == 0) {
                out->decided[s] = t + 1;
            }
            if (out->leads != NULL) {
                out->leads[at] = lead(&result);
            }
            if (out->digests != NULL) {
                out->digests[at] = esnn_digest(&m, 0);
            }
            if (out->raster != NULL) {
                draw_raster(&m, &info, out->raster + at * out->raster_width);
            }
        }
        if (steps > 0) {
            memcpy(out->scores + s * info.n_scores, result.scores, 4u * (size_t)info.n_scores);
        }
    }
    return ESNN_OK;
}
