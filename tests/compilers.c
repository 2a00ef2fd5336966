/* Runs many models over their frames and writes every output, for tests/test_compilers.py to
 * compare.
 *
 *   compilers CASES
 *
 * CASES holds, case after case, as 32-bit words: bytes of the image, int16 values of the frames,
 * samples, steps; then the image and the frames, each filled up to whole words. Standard output
 * takes, as 32-bit words, the status of each case, and where that is 0 for each sample (from a
 * reset) and step: digest, label, spikes, synops, macs.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "esnn.h"

typedef struct {
    uint32_t image_bytes, values, samples, steps;
} case_head;

static void write_words(const uint32_t *words, size_t n) {
    if (fwrite(words, sizeof *words, n, stdout) != n) {
        abort();
    }
}

static uint32_t *read_words(FILE *file, size_t bytes) {
    const size_t n = (bytes + 3u) / 4u;
    uint32_t *words = calloc(n + 1u, sizeof *words);
    if (words == NULL || fread(words, sizeof *words, n, file) != n) {
        abort();
    }
    return words;
}

static void write_status(esnn_status status) {
    const uint32_t word = (uint32_t)status;
    write_words(&word, 1);
}

static esnn_status step(esnn_model *m, const int16_t *frame) {
    esnn_result out;
    const esnn_status status = esnn_step(m, frame, &out);
    const uint32_t words[] = {esnn_digest(m, 0), out.label, out.spikes, out.synops, out.macs};
    write_words(words, sizeof words / sizeof *words);
    return status;
}

static void run(const case_head *c, const void *image, const int16_t *frames) {
    esnn_info info;
    esnn_model m;
    esnn_status status = esnn_check(image, c->image_bytes, &info);
    if (status == ESNN_OK && (size_t)c->samples * c->steps * info.input_size != c->values) {
        status = ESNN_ERR_INPUT;
    }
    if (status != ESNN_OK) {
        write_status(status);
        return;
    }
    void *arena = malloc(info.arena_bytes);
    if (esnn_load(&m, image, c->image_bytes, arena, info.arena_bytes) != ESNN_OK) {
        abort();
    }
    write_status(ESNN_OK);
    for (uint32_t s = 0; s < c->samples; s++) {
        esnn_reset(&m);
        for (uint32_t t = 0; t < c->steps; t++, frames += info.input_size) {
            if (step(&m, frames) != ESNN_OK) {
                abort();
            }
        }
    }
    free(arena);
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    case_head c;
    if (file == NULL) {
        return 2;
    }
    while (fread(&c, sizeof c, 1, file) == 1) {
        uint32_t *image = read_words(file, c.image_bytes);
        uint32_t *frames = read_words(file, c.values * sizeof(int16_t));
        run(&c, image, (const int16_t *)(const void *)frames);
        free(image);
        free(frames);
    }
    return fclose(file) == 0 ? 0 : 1;
}
