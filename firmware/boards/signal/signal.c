/* In place of a sensor, for boards that have none: saw-teeth, a shorter one each channel.
 * SPDX-License-Identifier: Apache-2.0 */
#include "board.h"

#define CHANNELS 6u
#define ROOM 16u
#define PERIOD 20000u /* µs */

static uint32_t stamps[ROOM], last;
static int16_t values[ROOM * CHANNELS];
static esnn_sensor sensor; /* without a ring: not begun yet */

/* what a timer would do: take the samples that have become due */
esnn_sensor *board_sensor(void) {
    const uint32_t now = board_micros();
    if (sensor.stamps == NULL) {
        sensor = (esnn_sensor){stamps, values, CHANNELS, ROOM, PERIOD, 0};
        last = now;
    }
    const uint32_t due = (now - last) / PERIOD;
    const uint32_t skipped = due > ROOM ? due - ROOM : 0; /* nobody will see them */
    sensor.taken += skipped;
    last += skipped * PERIOD;
    for (uint32_t k = skipped; k < due; k++) {
        int16_t sample[CHANNELS];
        for (uint32_t c = 0; c < CHANNELS; c++) {
            sample[c] = (int16_t)((int32_t)(sensor.taken * (c + 1u) % 64u) * 1024 - 32768);
        }
        last += PERIOD;
        esnn_sensor_put(&sensor, last, sample);
    }
    return &sensor;
}
