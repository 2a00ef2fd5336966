/* SPDX-License-Identifier: Apache-2.0 */
#include "sensor.h"

#include <string.h>

void esnn_sensor_put(esnn_sensor *s, uint32_t micros, const int16_t *values) {
    const size_t at = s->taken & (s->room - 1u);
    s->stamps[at] = micros;
    memcpy(s->values + at * s->channels, values, sizeof *values * s->channels);
    s->taken++;
}

size_t esnn_sensor_get(const esnn_sensor *s, uint32_t *first, uint8_t *to, size_t most) {
    const size_t values = sizeof *s->values * s->channels;
    for (;;) {
        const uint32_t taken = s->taken, kept = s->room - 1u;
        uint32_t waiting = taken - *first;
        if (waiting >= 0x80000000u) { /* a number that is still to come */
            waiting = 0;
        }
        if (waiting > kept) {
            waiting = kept;
        }
        const uint32_t start = taken - waiting;
        const size_t n = waiting < most ? waiting : most;
        uint8_t *at = to;
        for (uint32_t k = start; k != start + n; k++) {
            const size_t place = k & (s->room - 1u);
            memcpy(at, s->stamps + place, sizeof *s->stamps);
            memcpy(at + sizeof *s->stamps, s->values + place * s->channels, values);
            at += sizeof *s->stamps + values;
        }
        if (n == 0 || s->taken - start < s->room) { /* else one was overwritten in the meantime */
            *first = start;
            return n;
        }
    }
}
