/* Runs the model: a line of integers for each frame on standard input, the class by now and the
 * digest of the step on standard output. SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "esnn.h"
#include "model.h"

int main(void) {
    static uint32_t arena[MODEL_ARENA_BYTES / 4];
    esnn_model model;
    esnn_result result;
    int16_t frame[MODEL_CHANNELS];
    if (esnn_load(&model, model_image, MODEL_BYTES, arena, sizeof arena) != ESNN_OK) {
        fprintf(stderr, "the model does not load\n");
        return 1;
    }
    for (;;) {
        for (int k = 0; k < MODEL_CHANNELS; k++) {
            int value;
            if (scanf("%d", &value) != 1) {
                return 0;
            }
            frame[k] = (int16_t)value;
        }
        if (esnn_step(&model, frame, &result) != ESNN_OK) {
            return 1;
        }
        printf("%s %08lx\n", model_classes[result.label], (unsigned long)esnn_digest(&model, 0));
    }
}
