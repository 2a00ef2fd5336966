/* The clocks at 125 MHz, from the crystal of 12 MHz, and UART0, a PL011, at GPIO 0 and 1.
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "cpu.h"
#include "link.h"
#include "machine.h"
#include "registers.h"

#define CLOCKS 0x40008000u
#define RESETS 0x4000c000u
#define PINS 0x40014000u
#define CRYSTAL 0x40024000u
#define PLL 0x40028000u
#define UART 0x40034000u

enum { REFERENCE = 0x30, REFERENCE_NOW = 0x38, SYSTEM = 0x3c, SYSTEM_NOW = 0x44, DEVICES = 0x48 };
enum { RESET = 0x00, RESET_DONE = 0x08 };
enum { CRYSTAL_CONTROL = 0x00, CRYSTAL_STATE = 0x04, CRYSTAL_STARTUP = 0x0c };
enum { PLL_STATE = 0x00, PLL_OFF = 0x04, PLL_FEEDBACK = 0x08, PLL_DIVIDERS = 0x0c };
enum { WATCHDOG_TICK = 0x2c };
enum {
    DATA = 0x00,
    STATE = 0x18,
    BAUD = 0x24,
    BAUD_FRACTION = 0x28,
    LINE = 0x2c,
    CONTROL = 0x30,
    INTERRUPTS_ON = 0x38,
    ACKNOWLEDGE = 0x44
};

#define USED (1u << 5 | 1u << 8 | 1u << 12 | 1u << 21 | 1u << 22) /* pins, PLL, timer, UART0 */
#define CRYSTAL_ON (0xfabu << 12 | 0xaa0u)
#define CRYSTAL_1_MS 47u /* of 256 cycles */
#define READY (1u << 31)
#define REFERENCE_IS_CRYSTAL 2u
#define SYSTEM_IS_PLL 1u
#define DEVICES_ON (1u << 11)
#define POST_DIVIDER_OFF (1u << 3)
#define ALL_OFF 0x2du
#define BY_125 125u
#define DIVIDE_BY_6_AND_2 (6u << 16 | 2u << 12) /* 1500 MHz */
#define A_MICROSECOND (12u | 1u << 9)           /* of the crystal, for the timer */
#define PIN_IS_UART 2u

enum { RECEIVE_EMPTY = 1 << 4, SEND_FULL = 1 << 5 };                  /* STATE */
enum { RECEIVED = 1 << 4, SENT = 1 << 5, RECEIVED_LITTLE = 1 << 6 };  /* interrupts */
enum { EIGHT_BITS_AND_FIFOS = 3 << 5 | 1 << 4, ALL_ON = 3 << 8 | 1 }; /* LINE, CONTROL */

static void wait_for(uint32_t base, uint32_t offset, uint32_t bits) {
    while ((REGISTER(base, offset) & bits) != bits) {
    }
}

static void speed_up(void) {
    REGISTER(CRYSTAL, CRYSTAL_STARTUP) = CRYSTAL_1_MS;
    REGISTER(CRYSTAL, CRYSTAL_CONTROL) = CRYSTAL_ON;
    wait_for(CRYSTAL, CRYSTAL_STATE, READY);
    REGISTER(CLOCKS, REFERENCE) = REFERENCE_IS_CRYSTAL;
    wait_for(CLOCKS, REFERENCE_NOW, 1u << REFERENCE_IS_CRYSTAL);
    REGISTER(RESETS, RESET + CLEAR_BITS) = USED;
    wait_for(RESETS, RESET_DONE, USED);
    REGISTER(PLL, PLL_STATE) = 1; /* the crystal by 1 */
    REGISTER(PLL, PLL_FEEDBACK) = BY_125;
    REGISTER(PLL, PLL_OFF + CLEAR_BITS) = ALL_OFF & ~POST_DIVIDER_OFF;
    wait_for(PLL, PLL_STATE, READY);
    REGISTER(PLL, PLL_DIVIDERS) = DIVIDE_BY_6_AND_2;
    REGISTER(PLL, PLL_OFF + CLEAR_BITS) = POST_DIVIDER_OFF;
    REGISTER(CLOCKS, SYSTEM) = SYSTEM_IS_PLL;
    wait_for(CLOCKS, SYSTEM_NOW, 1u << SYSTEM_IS_PLL);
    REGISTER(CLOCKS, DEVICES) = DEVICES_ON;
    REGISTER(WATCHDOG, WATCHDOG_TICK) = A_MICROSECOND;
}

void uart_start(void) {
    speed_up();
    REGISTER(PINS, 4) = PIN_IS_UART;
    REGISTER(PINS, 12) = PIN_IS_UART;
    REGISTER(UART, BAUD) = 67; /* 125 MHz / 16 / 115200 = 67 + 52 / 64 */
    REGISTER(UART, BAUD_FRACTION) = 52;
    REGISTER(UART, LINE) = EIGHT_BITS_AND_FIFOS;
    REGISTER(UART, CONTROL) = ALL_ON;
    REGISTER(UART, INTERRUPTS_ON) = RECEIVED | SENT | RECEIVED_LITTLE;
    cpu_enable(UART_IRQ);
}

/* an idle UART raises no interrupt */
void uart_wake(void) { cpu_raise(UART_IRQ); }

/* acknowledges first: a byte that comes or goes afterwards raises the interrupt again */
void uart_interrupt(void) {
    uint8_t byte;
    REGISTER(UART, ACKNOWLEDGE) = RECEIVED | SENT | RECEIVED_LITTLE;
    while ((REGISTER(UART, STATE) & RECEIVE_EMPTY) == 0) {
        link_received((uint8_t)REGISTER(UART, DATA));
    }
    while ((REGISTER(UART, STATE) & SEND_FULL) == 0 && link_next(&byte)) {
        REGISTER(UART, DATA) = byte;
    }
}
