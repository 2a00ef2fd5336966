/* The CMSDK watchdog: its first end raises NMI, its second one resets the board.
 * SPDX-License-Identifier: Apache-2.0 */
#include "flash.h"
#include "machine.h"

typedef struct {
    uint32_t load, value, control, clear;
} watchdog_registers;

#define WATCHDOG ((volatile watchdog_registers *)WATCHDOG_BASE)
#define LOCK (*(volatile uint32_t *)(WATCHDOG_BASE + 0xc00u))
#define UNLOCKED 0x1acce551u

enum { COUNTS = 1, RESETS = 2 };

void watchdog_set(uint32_t seconds) {
    LOCK = UNLOCKED;
    WATCHDOG->control = 0;
    if (seconds > 0) {
        WATCHDOG->load = seconds * WATCHDOG_HZ;
        WATCHDOG->control = COUNTS | RESETS;
    }
    LOCK = 0;
}
