/* USART1 of an STM32F4, at PA9 and PA10. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_USART_H
#define ESNN_USART_H

#include <stdint.h>

#define USART 0x40011000u

enum { STATE = 0x00, DATA = 0x04, RECEIVED_DATA = DATA, BAUD = 0x08, CONTROL = 0x0c };
enum { RECEIVED = 1 << 5, SEND_EMPTY = 1 << 7 }; /* in STATE, and in CONTROL their interrupts */
enum { RECEIVES = 1 << 2, SENDS = 1 << 3, ON = 1 << 13 };

/* reading what was received clears an overrun */
static inline void usart_clear(void) {}

void usart_start(uint32_t clock_hz);

#endif
