/* How the loader reads an array of an image of SIZE bytes: from any offset, of any length.
 * SPDX-License-Identifier: Apache-2.0 */
#include "__fc_builtin.h"
#include "esnn_internal.h"

static uint32_t image[SIZE / 4u];

static void check(uint32_t offset, uint32_t n) {
    const esnn_header *h = (const esnn_header *)(void *)image;
    (void)esnn_check_u16(h, offset, n, 32768);
    (void)esnn_check_i32(h, offset, n, -1000, 1000);
    (void)esnn_check_bias(h, offset, n);
}

int main(void) {
    Frama_C_make_unknown((char *)image, SIZE);
    ((esnn_header *)(void *)image)->length = SIZE;
    /*@ loop unroll SIZE + 9; */
    for (uint32_t offset = 0; offset < SIZE + 8u; offset++) {
        /*@ loop unroll SIZE; */
        for (uint32_t n = 0; n < SIZE / 2u; n++) {
            check(offset, n);
        }
        check(offset, Frama_C_unsigned_int_interval(SIZE / 2u, 65536)); /* never inside */
    }
    return 0;
}
