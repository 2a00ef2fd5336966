/* Runs many models over their frames and writes what came out, for tests/test_compilers.py to
 * compare.
 *
 *   compilers CASES RESULTS
 *
 * CASES holds, case after case, as 32-bit words: bytes of the image, int16 values of a frame,
 * steps; then the image and every frame, each filled up to whole words. RESULTS takes five words a
 * case: the status, which is 1 where the case is too large for this machine; CRC-32 over digest and
 * label of every step from a reset, and since when the answer is decided; spikes, synops and macs
 * of all steps. On an emulated core there are no arguments: both files lie where the emulator was
 * started. SPDX-License-Identifier: Apache-2.0 */
#include "esnn.h"

typedef struct {
    uint32_t image_bytes, frame_values, steps;
} case_head;

enum { TOO_LARGE = 1, RESULT_WORDS = 5 };

static uint32_t image[IMAGE_BYTES / 4], frame[FRAME_BYTES / 4], arena[ARENA_SIZE / 4];

#if defined(ESNN_EMULATED)

#include "guest.h"

static intptr_t cases, results;

static int open_files(int argc, char **argv) {
    (void)argc, (void)argv;
    cases = open_file("cases", 0);
    results = open_file("results", 1);
    return cases > 0 && results > 0;
}

static int read_bytes(void *data, size_t n) { return read_file(cases, data, n); }

static int write_bytes(const void *data, size_t n) { return write_file(results, data, n); }

static int close_files(void) { return close_file(results); }

#else

#include <stdio.h>

int main(int argc, char **argv);

static FILE *cases, *results;

static int open_files(int argc, char **argv) {
    cases = argc == 3 ? fopen(argv[1], "rb") : NULL;
    results = argc == 3 ? fopen(argv[2], "wb") : NULL;
    return cases != NULL && results != NULL;
}

static int read_bytes(void *data, size_t n) { return fread(data, 1, n, cases) == n; }

static int write_bytes(const void *data, size_t n) { return fwrite(data, 1, n, results) == n; }

static int close_files(void) { return fclose(results) == 0; }

#endif

static uint32_t whole_words(uint32_t bytes) { return (bytes + 3u) & ~3u; }

/* take n bytes from the file that nobody wants */
static int pass_over(uint32_t n) {
    while (n > 0) {
        const uint32_t here = n < sizeof image ? n : (uint32_t)sizeof image;
        if (!read_bytes(image, here)) {
            return 0;
        }
        n -= here;
    }
    return 1;
}

static esnn_status load(esnn_model *m, const case_head *c) {
    esnn_info info;
    const esnn_status status = esnn_check(image, c->image_bytes, &info);
    if (status != ESNN_OK) {
        return status;
    }
    if (info.input_size != c->frame_values) {
        return ESNN_ERR_INPUT;
    }
    return esnn_load(m, image, c->image_bytes, arena, sizeof arena);
}

/* 0: the files are not as they should be */
static int run(const case_head *c) {
    const uint32_t frame_bytes = whole_words(2u * c->frame_values);
    uint32_t result[RESULT_WORDS] = {TOO_LARGE, 0, 0, 0, 0};
    esnn_model m;
    uint32_t t = 0, decided = 0;
    if (c->image_bytes > sizeof image || frame_bytes > sizeof frame) {
        if (!pass_over(whole_words(c->image_bytes))) {
            return 0;
        }
    } else {
        if (!read_bytes(image, whole_words(c->image_bytes))) {
            return 0;
        }
        esnn_status status = load(&m, c);
        for (; status == ESNN_OK && t < c->steps; t++) {
            esnn_result out;
            if (!read_bytes(frame, frame_bytes)) {
                return 0;
            }
            status = esnn_step(&m, (const int16_t *)(const void *)frame, &out);
            decided = decided == 0 && out.decided ? t + 1u : decided;
            const uint32_t gave[2] = {esnn_digest(&m, 0), out.label + (decided << 16)};
            result[1] = esnn_crc32(result[1], gave, sizeof gave);
            result[2] += out.spikes;
            result[3] += out.synops;
            result[4] += out.macs;
        }
        result[0] = status == ESNN_ERR_ARENA ? TOO_LARGE : (uint32_t)status;
    }
    return pass_over((c->steps - t) * frame_bytes) && write_bytes(result, sizeof result);
}

static int run_all(int argc, char **argv) {
    case_head c;
    if (!open_files(argc, argv)) {
        return 2;
    }
    while (read_bytes(&c, sizeof c)) {
        if (!run(&c)) {
            return 1;
        }
    }
    return close_files() ? 0 : 1;
}

#if defined(ESNN_EMULATED)

int main(void) {
    const int status = run_all(0, 0);
    say(status == 0 ? "CHECK OK\n" : "CHECK FAIL\n");
    return status;
}

#else

int main(int argc, char **argv) { return run_all(argc, argv); }

#endif
