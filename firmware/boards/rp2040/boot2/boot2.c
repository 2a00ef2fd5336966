/* The second stage of the boot: the processor's ROM copies it from the start of the flash into RAM,
 * and runs it. It sets the flash's interface up for code that runs in place, read by the command
 * that every flash knows, and starts the firmware. SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#define INTERFACE(offset) (*(volatile uint32_t *)(0x18000000u + (offset)))
#define VECTORS_ARE_AT (*(volatile uint32_t *)0xe000ed08u)
#define FIRMWARE 0x10000100u

enum { CONTROL_0 = 0x00, CONTROL_1 = 0x04, ON = 0x08, DIVIDER = 0x14, SPI_CONTROL = 0xf4 };

#define READ 0x03u      /* command of the flash, with 24 bits of address */
#define READS (3u << 8) /* sends a command and an address, then reads */
#define A_WORD (31u << 16)
#define SPEED 4u /* of the processor: 31 MHz at 125 MHz, which this command bears */

void boot2(void);

void boot2(void) {
    INTERFACE(ON) = 0;
    INTERFACE(DIVIDER) = SPEED;
    INTERFACE(CONTROL_0) = A_WORD | READS;
    INTERFACE(CONTROL_1) = 0;                                /* one word a command */
    INTERFACE(SPI_CONTROL) = READ << 24 | 2u << 8 | 6u << 2; /* 8 bits, and 24 in fours; serial */
    INTERFACE(ON) = 1;
    VECTORS_ARE_AT = FIRMWARE;
    const volatile uint32_t *vectors = (const volatile uint32_t *)FIRMWARE;
    const uint32_t stack = vectors[0], entry = vectors[1];
    __asm__ volatile("msr msp, %0\n"
                     "bx %1\n" ::"r"(stack),
                     "r"(entry));
    __builtin_unreachable();
}
