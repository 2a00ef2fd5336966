/* Registers that nRF51 and nRF52 have at the same places, by their offsets: the UART's and
 * TIMER0's. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_NRF_REGISTERS_H
#define ESNN_NRF_REGISTERS_H

#include <stdint.h>

#define UART(offset) (*(volatile uint32_t *)(0x40002000u + (offset)))
#define TIMER0(offset) (*(volatile uint32_t *)(0x40008000u + (offset)))

/* of the UART */
enum {
    UART_START_RECEIVE = 0x000,
    UART_START_SEND = 0x008,
    UART_RECEIVED = 0x108,
    UART_SENT = 0x11c,
    UART_INTERRUPT_ON = 0x304,
    UART_ENABLE = 0x500,
    UART_SEND_PIN = 0x50c,
    UART_RECEIVE_PIN = 0x514,
    UART_RECEIVE_DATA = 0x518,
    UART_SEND_DATA = 0x51c,
    UART_BAUD_RATE = 0x524
};

#define UART_ENABLED 4u
#define UART_BAUD_115200 0x01d7e000u

/* of TIMER0, whose register 0 tells the time and whose register 1 is the watchdog's */
enum {
    TIMER_START = 0x000,
    TIMER_STOP = 0x004,
    TIMER_CLEAR = 0x00c,
    TIMER_CAPTURE_0 = 0x040,
    TIMER_COMPARED_1 = 0x144,
    TIMER_INTERRUPT_ON = 0x304,
    TIMER_INTERRUPT_OFF = 0x308,
    TIMER_WIDTH = 0x508,
    TIMER_PRESCALER = 0x510,
    TIMER_COMPARE_0 = 0x540,
    TIMER_COMPARE_1 = 0x544
};

#define TIMER_WIDTH_32 3u
#define TIMER_DIVIDE_16 4u /* 16 MHz by 2^4 */

#endif
