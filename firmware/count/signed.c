/* Counts the check of a signature: of an update with a model of 16 KB, and of one without any.
 * SPDX-License-Identifier: Apache-2.0 */
#include "guest.h"
#include "signature.h"
#include "store.h"

static int check(const uint8_t *update, const uint8_t *end) {
    return esnn_signature_check(update, esnn_public_key, update + ESNN_SIGNATURE_BYTES,
                                (size_t)(end - update) - ESNN_SIGNATURE_BYTES);
}

int main(void) {
    int bad = 0;
    say("kernels none\n");
    REGION("empty", (void)0);
    REGION("check_16k", bad |= check(model_image, model_image_end));
    REGION("check_empty", bad |= check(model_frames, model_frames_end));
    say(bad == 0 ? "CHECK OK\n" : "CHECK FAIL\n");
    return bad;
}
