/* The app with its memory, all of it static, in the sizes that machine.h gives.
 * SPDX-License-Identifier: Apache-2.0 */
#include "start.h"

#include <string.h>

#include "app.h"
#include "board.h"
#include "link.h"
#include "machine.h"

/* of words, for their alignment */
static uint32_t model[MODEL_BYTES / 4], arena[ARENA_BYTES / 4], packet[PACKET_BYTES / 4];

const char *board_name(void) { return BOARD_NAME; }

void start(void) {
    static const esnn_app_memory memory = {
        .model = (uint8_t *)model,
        .model_size = sizeof model,
        .arena = (uint8_t *)arena,
        .arena_size = sizeof arena,
        .packet = (uint8_t *)packet,
        .packet_size = sizeof packet,
    };
    memcpy(data_start, data_load, (uintptr_t)data_end - (uintptr_t)data_start);
    memset(bss_start, 0, (uintptr_t)bss_end - (uintptr_t)bss_start);
    uart_start();
    clock_start();
    for (;;) {
        esnn_app_run(&memory); /* never returns here: this link has no end */
    }
}
