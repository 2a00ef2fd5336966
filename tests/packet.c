/* The codec of the stream app as a filter: good packets of standard input, encoded again, to
 * standard output, and the number of bad ones to standard error. Built with sanitizers;
 * tests/test_packet.py says what must come out.
 *
 *   packet CAPACITY
 *
 * The decoder's memory is a heap block of exactly that capacity: no byte beyond goes unseen.
 * SPDX-License-Identifier: Apache-2.0 */
#include "packet.h"

#include <stdio.h>
#include <stdlib.h>

static void to_file(void *context, const uint8_t *data, size_t size) {
    if (size > 0 && fwrite(data, 1, size, (FILE *)context) != size) {
        abort();
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        return 2;
    }
    const size_t capacity = strtoul(argv[1], NULL, 10);
    uint8_t *data = malloc(capacity);
    esnn_decoder decoder;
    int byte;
    if (data == NULL) {
        return 2;
    }
    esnn_decoder_init(&decoder, data, capacity);
    while ((byte = getchar()) != EOF) {
        if (esnn_decode(&decoder, (uint8_t)byte)) {
            esnn_encode(data, esnn_seal(data, decoder.length), to_file, stdout);
        }
    }
    fprintf(stderr, "%lu\n", (unsigned long)decoder.bad);
    free(data);
    return 0;
}
