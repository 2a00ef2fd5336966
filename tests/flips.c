/* Flip every bit of a signed model, one at a time, and print how many of them the check of a
 * signature refuses.
 *
 *   flips UPDATE FIRST STEP    every STEP-th bit from the bit FIRST on
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "signature.h"
#include "store.h"

int main(int argc, char **argv) {
    static uint8_t update[1 << 17];
    unsigned refused = 0, flipped = 0;
    FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) {
        return 2;
    }
    const size_t size = fread(update, 1, sizeof update, file);
    const size_t step = strtoul(argv[3], NULL, 10);
    fclose(file);
    for (size_t bit = strtoul(argv[2], NULL, 10); bit < 8 * size; bit += step) {
        update[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refused += esnn_signature_check(update, esnn_public_key, update + ESNN_SIGNATURE_BYTES,
                                        size - ESNN_SIGNATURE_BYTES) != 0;
        update[bit / 8] ^= (uint8_t)(1u << bit % 8);
        flipped++;
    }
    const int whole = esnn_signature_check(update, esnn_public_key, update + ESNN_SIGNATURE_BYTES,
                                           size - ESNN_SIGNATURE_BYTES) == 0;
    printf("%u %u %d\n", refused, flipped, whole);
    return 0;
}
