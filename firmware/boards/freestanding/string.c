/* memcpy and memset, which gcc calls for loops and structs of its own accord as well, and strlen.
 * Build with -fno-tree-loop-distribute-patterns: gcc would see a memset in memset's loop and call
 * it, for ever.
 * SPDX-License-Identifier: Apache-2.0 */
#include "string.h"

#include <stdint.h>

typedef uint32_t __attribute__((may_alias)) word; /* four bytes of an object of any type */

/* the names are in brackets to keep the macros of string.h out */

void *(memcpy)(void *restrict to, const void *restrict from, size_t n) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3u) == 0) {
        for (; n >= 4; n -= 4, out += 4, in += 4) {
            *(word *)(void *)out = *(const word *)(const void *)in;
        }
    }
    for (; n > 0; n--) {
        *out++ = *in++;
    }
    return to;
}

void *(memset)(void *to, int value, size_t n) {
    uint8_t *out = to;
    const word four = (uint8_t)value * 0x01010101u;
    if (((uintptr_t)out & 3u) == 0) {
        for (; n >= 4; n -= 4, out += 4) {
            *(word *)(void *)out = four;
        }
    }
    for (; n > 0; n--) {
        *out++ = (uint8_t)value;
    }
    return to;
}

size_t strlen(const char *text) {
    size_t n = 0;
    while (text[n] != '\0') {
        n++;
    }
    return n;
}
