/* Runs the golden run that is in the model; put the frames of a sensor in its place.
 * SPDX-License-Identifier: Apache-2.0 */
#include <zephyr/sys/printk.h>

#include "esnn.h"
#include "model.h"

int main(void) {
    static uint32_t arena[MODEL_ARENA_BYTES / 4];
    static esnn_model model;
    int status = esnn_load(&model, model_image, MODEL_BYTES, arena, sizeof arena);
    if (status == ESNN_OK) {
        status = esnn_selftest(&model);
    }
    printk("edgesnn: %s\n", status == ESNN_OK ? "the model runs" : "the model does not run");
    return status;
}
