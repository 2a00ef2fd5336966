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
        const uint32_t taken = s->taken, most_kept = s->room - 1u;
        const uint32_t kept = taken < most_kept ? taken : most_kept;
        uint32_t waiting = taken - *first;
        if (waiting >= 0x80000000u) { /* a number that is still to come */
            waiting = 0;
        }
        if (waiting > kept) {
            waiting = kept;
        }
        const uint32_t start = taken - waiting;
        const uint32_t n = waiting < most ? waiting : (uint32_t)most;
        uint8_t *at = to;
        for (uint32_t k = 0; k < n; k++) {
            const size_t place = (start + k) & (s->room - 1u);
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
