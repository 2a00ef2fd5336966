/* Counts what the stream app makes of a frame, from the bytes that arrived to the answer that is
 * sent, and the step in it alone. The link is a script: what it takes is not counted.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "app.h"
#include "board.h"
#include "esnn_internal.h"
#include "guest.h"
#include "packet.h"
#include "protocol.h"

enum { MODEL_BYTES = 2048, PACKET_BYTES = 512, A_FRAME = 0x8000 };

static uint32_t model[MODEL_BYTES / 4], arena[ARENA_SIZE / 8], packet[PACKET_BYTES / 4];
static uint8_t answer[PACKET_BYTES];
static esnn_decoder decoder;
static uint32_t results, frames;
static const uint8_t *next; /* in the script: u16 length and whether it is a frame, bytes */
static int counting;

static void pause(void) {
    if (counting) {
        bench_end();
        say("region frame\n");
    }
}

static void go_on(void) {
    if (counting) {
        bench_begin();
    }
}

const char *board_name(void) { return "count"; }

size_t board_window(void) { return PACKET_BYTES; }

uint32_t board_overruns(void) { return 0; }

uint32_t board_micros(void) { return 0; }

esnn_sensor *board_sensor(void) { return NULL; }

size_t board_read(uint8_t *data, size_t max) {
    pause();
    counting = 0;
    if (next == script_end) {
        return 0;
    }
    const size_t word = (size_t)(next[0] | next[1] << 8), n = word & (A_FRAME - 1u);
    if (n > max) {
        say("a packet is longer than the app reads at once\n");
        return 0;
    }
    memcpy(data, next + 2, n);
    next += 2 + n;
    counting = (word & A_FRAME) != 0;
    frames += counting != 0;
    go_on();
    return n;
}

void board_write(const uint8_t *data, size_t n) {
    pause();
    for (size_t k = 0; k < n; k++) {
        if (esnn_decode(&decoder, data[k])) {
            results += answer[0] == ESNN_RESULT;
        }
    }
    go_on();
}

int main(void) {
    const esnn_app_memory memory = {
        (uint8_t *)model, sizeof model, (uint8_t *)arena, sizeof arena, (uint8_t *)packet,
        sizeof packet,    NULL};
    const size_t size = (size_t)(model_image_end - model_image);
    const int16_t *frame = (const int16_t *)(const void *)model_frames;
    esnn_model m;
    esnn_result out;
    say("kernels ");
    say(esnn_kernel_name());
    say("\n");
    REGION("empty", (void)0);
    next = script;
    esnn_decoder_init(&decoder, answer, sizeof answer);
    esnn_app_run(&memory);
    esnn_status status = esnn_load(&m, model_image, size, arena, sizeof arena);
    for (uint32_t k = 0; k < frames && status == ESNN_OK; k++, frame += esnn_size(&m, 0)) {
        REGION("frame_step", status = esnn_step(&m, frame, &out));
    }
    const int right = status == ESNN_OK && frames > 0 && results == frames;
    say(right ? "CHECK OK\n" : "CHECK FAIL\n");
    return right ? 0 : 1;
}
