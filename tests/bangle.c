/* Code of an exported Bangle.js 2 app, run as Espruino runs it: copied into RAM, to two places one
 * after the other, and called by address. Says the class and the digest of every step.
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "guest.h"

enum { CODE_BYTES = 1 << 16, MEMORY_BYTES = 1 << 14, CHANNELS = CHANNELS_OF_MODEL };

static uint32_t room[2 * CODE_BYTES / 4], memory[MEMORY_BYTES / 4];
static int16_t frame[CHANNELS];

static void say_number(uint32_t value) {
    char text[10];
    for (int k = 0; k < 8; k++) {
        text[k] = "0123456789abcdef"[value >> (28 - 4 * k) & 15u];
    }
    text[8] = ' ';
    text[9] = '\0';
    say(text);
}

static uintptr_t entry(const uint8_t *code, unsigned k) { return (uintptr_t)code + 4u * k + 1u; }

static int run_at(uint8_t *code) {
    const size_t size = (size_t)(model_image_end - model_image);
    memcpy(code, model_image, size);
    __asm__ volatile("dsb\n isb" ::: "memory");
    int32_t (*start)(void *, uint32_t, uint8_t *) =
        (int32_t(*)(void *, uint32_t, uint8_t *))entry(code, 0);
    int32_t (*step)(void *, const int16_t *) = (int32_t(*)(void *, const int16_t *))entry(code, 1);
    uint32_t (*digest)(void *) = (uint32_t(*)(void *))entry(code, 3);
    void (*reset)(void *) = (void (*)(void *))entry(code, 4);
    if (start(memory, sizeof memory, code) != 0) {
        return 0;
    }
    reset(memory);
    const uint8_t *next = model_frames;
    for (; next < model_frames_end; next += sizeof frame) {
        memcpy(frame, next, sizeof frame);
        const int32_t label = step(memory, frame);
        if (label < 0) {
            return 0;
        }
        say_number((uint32_t)label);
        say_number(digest(memory));
    }
    say("\n");
    return 1;
}

int main(void) {
    const int good = run_at((uint8_t *)room) && run_at((uint8_t *)room + CODE_BYTES + 1028);
    say(good ? "CHECK OK\n" : "CHECK FAIL\n");
    return !good;
}
