/* Counts one evaluation of a candidate: its genes put into the image, a window flown, the loss. The
 * image is the model's; the recipe takes the place of the frames.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "evolve.h"
#include "guest.h"

enum { IMAGE_BYTES = 8192, STATE_BYTES = 10240 };

int main(void) {
    static uint32_t image[IMAGE_BYTES / 4], state[STATE_BYTES / 4], arena[ARENA_SIZE / 8];
    static evolution e;
    const size_t bytes = (size_t)(model_image_end - model_image);
    const evolve_recipe *recipe = (const evolve_recipe *)(const void *)model_frames;
    say("kernels any\n");
    REGION("empty", (void)0);
    if (bytes > sizeof image) {
        return 1;
    }
    memcpy(image, model_image, bytes);
    const esnn_status status = evolve_begin(&e, recipe, recipe->bytes, (uint8_t *)image, bytes,
                                            (evolve_state *)(void *)state, arena, sizeof arena);
    uint32_t ran = 0;
    if (status == ESNN_OK) {
        REGION("evaluation", ran = evolve_run_for(&e, (uint32_t)recipe->task.ticks));
    }
    const int right = ran == (uint32_t)recipe->task.ticks;
    say(right ? "CHECK OK\n" : "CHECK FAIL\n");
    return right ? 0 : 1;
}
