/* Counts the steps of a whole model, frame after frame, executed in place.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"
#include "guest.h"

int main(void) {
    static uint32_t arena[ARENA_SIZE / 4];
    esnn_model m;
    esnn_result out;
    const size_t size = (size_t)(model_image_end - model_image);
    esnn_status status = esnn_load(&m, model_image, size, arena, sizeof arena);
    const int16_t *frame = (const int16_t *)(const void *)model_frames;
    say("kernels ");
    say(esnn_kernel_name());
    say("\n");
    REGION("empty", (void)0);
    while (status == ESNN_OK && (const uint8_t *)frame < model_frames_end) {
        REGION("step", status = esnn_step(&m, frame, &out));
        frame += esnn_size(&m, 0);
    }
    say(status == ESNN_OK ? "CHECK OK\n" : "CHECK FAIL\n");
    return status == ESNN_OK ? 0 : 1;
}
