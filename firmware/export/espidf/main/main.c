/* Runs the golden run that is in the model; put the frames of a sensor in its place.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "esnn.h"
#include "model.h"

void app_main(void);

void app_main(void) {
    static uint32_t arena[MODEL_ARENA_BYTES / 4];
    static esnn_model model;
    int status = esnn_load(&model, model_image, MODEL_BYTES, arena, sizeof arena);
    if (status == ESNN_OK) {
        status = esnn_selftest(&model);
    }
    printf("edgesnn: %s\n", status == ESNN_OK ? "the model runs" : "the model does not run");
}
