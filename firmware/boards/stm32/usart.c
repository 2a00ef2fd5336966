/* The USART of an STM32, which usart.h of its family describes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "usart.h"

#include "cpu.h"
#include "link.h"
#include "machine.h"
#include "registers.h"

void usart_start(uint32_t clock_hz) {
    REGISTER(USART, BAUD) = clock_hz / 115200u;
    REGISTER(USART, CONTROL) = ON | SENDS | RECEIVES | RECEIVED;
    cpu_enable(UART_IRQ);
}

void uart_wake(void) { cpu_raise(UART_IRQ); }

void uart_interrupt(void) {
    uint8_t byte;
    usart_clear();
    while ((REGISTER(USART, STATE) & RECEIVED) != 0) {
        link_received((uint8_t)REGISTER(USART, RECEIVED_DATA));
    }
    while ((REGISTER(USART, STATE) & SEND_EMPTY) != 0) {
        if (!link_next(&byte)) {
            REGISTER(USART, CONTROL) = ON | SENDS | RECEIVES | RECEIVED;
            return;
        }
        REGISTER(USART, DATA) = byte;
    }
    REGISTER(USART, CONTROL) = ON | SENDS | RECEIVES | RECEIVED | SEND_EMPTY;
}
