/* Registers, by base and offset. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_RP2040_REGISTERS_H
#define ESNN_RP2040_REGISTERS_H

#include <stdint.h>

#define REGISTER(base, offset) (*(volatile uint32_t *)((base) + (offset)))
#define CLEAR_BITS                                                                 \
    0x3000u /* of a register: it is here once more, and what is written is cleared \
             */

#define TIMER 0x40054000u
#define WATCHDOG 0x40058000u

#endif
