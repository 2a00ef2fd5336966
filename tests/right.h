/* What an image needs to be let in, for the harnesses that change images.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_RIGHT_H
#define ESNN_RIGHT_H

#include <string.h>

#include "esnn_internal.h"

/* give an image, at least a header long, the length and the CRC that it has */
static inline void make_right(uint8_t *image, size_t size) {
    const size_t covered = offsetof(esnn_header, arena_bytes);
    const uint32_t length = (uint32_t)size;
    memcpy(image + offsetof(esnn_header, length), &length, sizeof length);
    const uint32_t crc = esnn_crc32(0, image + covered, size - covered);
    memcpy(image + offsetof(esnn_header, crc), &crc, sizeof crc);
}

#endif
