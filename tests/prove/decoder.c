/* The decoder of packets, on any stream of bytes that never ends: Frama-C's Eva (tests/prove.py)
 * proves that no access leaves a buffer of CAPACITY bytes, and that nothing is undefined.
 * SPDX-License-Identifier: Apache-2.0 */
#include "__fc_builtin.h"
#include "packet.h"

static uint8_t buffer[CAPACITY];

int main(void) {
    esnn_decoder d;
    esnn_decoder_init(&d, buffer, CAPACITY);
    /*@ loop invariant d.length <= CAPACITY; */
    while (Frama_C_interval(0, 1)) {
        (void)esnn_decode(&d, (uint8_t)Frama_C_interval(0, 255));
    }
    return 0;
}
