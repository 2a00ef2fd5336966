/* The part of <string.h> that core and app use, for boards built without a libc.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_FREESTANDING_STRING_H
#define ESNN_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int value, size_t n);
size_t strlen(const char *text);

/* -ffreestanding takes their meaning from the names; with it back, short copies need no call */
#define memcpy(to, from, n) __builtin_memcpy(to, from, n)
#define memset(to, value, n) __builtin_memset(to, value, n)

#endif
