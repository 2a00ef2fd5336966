/* SPDX-License-Identifier: Apache-2.0 */
#include "fly.h"

#include "esnn.h"

int blimp_fly(const void *image, size_t size, void *arena, size_t arena_size,
              const blimp_task *task, const int16_t *track, int32_t role, uint32_t seed,
              int32_t *trace, uint32_t *loss) {
    blimp_flight f;
    esnn_model model;
    esnn_result out = {0};
    if (image != NULL) {
        const esnn_status status = esnn_load(&model, image, size, arena, arena_size);
        if (status != ESNN_OK) {
            return status;
        }
    }
    blimp_begin(&f, task, track, role, seed);
    for (; f.tick < task->ticks; trace += FLY_COLUMNS) {
        const int16_t error = blimp_observe(&f);
        const int32_t altitude = task->flier == BLIMP_RECORDED
                                     ? track[f.start + f.tick]
                                     : (int32_t)(((int64_t)f.height * 100) >> 20);
        if (image != NULL) {
            const esnn_status status = esnn_step(&model, &error, &out);
            if (status != ESNN_OK) {
                return status;
            }
        }
        trace[0] = task->flier == BLIMP_RECORDED ? altitude + error : f.reference;
        trace[1] = altitude;
        trace[2] = error;
        trace[3] = f.terms[0];
        trace[4] = f.terms[1];
        trace[5] = f.terms[2];
        trace[6] = image != NULL ? out.scores[0] : 0;
        blimp_answer(&f, trace[6]);
        trace[7] = f.target;
    }
    *loss = blimp_loss(&f);
    return ESNN_OK;
}
