/* Calls all of the core's interface, so that a linker keeps what an application can reach and
 * nothing else. It is linked to be measured, and never run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn.h"
#include "esnn_internal.h"

int main(void);

int main(void) {
    static uint32_t image[64], arena[64];
    static esnn_model m;
    static esnn_info info;
    static esnn_result out;
    static int16_t frame[4];
    static uint16_t channels[4];
    const uint16_t *events;
    const int16_t *values;
    size_t n = esnn_check(image, sizeof image, &info) == ESNN_OK;
    n += esnn_load(&m, image, sizeof image, arena, sizeof arena) == ESNN_OK;
    n += esnn_step(&m, frame, &out) == ESNN_OK;
    n += esnn_step_events(&m, channels, 4, &out) == ESNN_OK;
    esnn_reset(&m);
    n += esnn_events(&m, 0, &events) + esnn_values(&m, 0, &values) + esnn_size(&m, 0);
    n += esnn_selftest(&m) == ESNN_OK;
    n += esnn_digest(&m, 0) + esnn_crc32(0, image, sizeof image);
    return (int)n + esnn_kernel_name()[0];
}
