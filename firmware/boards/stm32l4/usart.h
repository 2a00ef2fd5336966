/* USART2 of an STM32L4, at PA2 and PA3. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_USART_H
#define ESNN_USART_H

#include <stdint.h>

#include "registers.h"

#define USART 0x40004400u

enum { CONTROL = 0x00, BAUD = 0x0c, STATE = 0x1c, CLEAR = 0x20, RECEIVED_DATA = 0x24, DATA = 0x28 };
enum { OVERRUN = 1 << 3, RECEIVED = 1 << 5, SEND_EMPTY = 1 << 7 }; /* in STATE */
enum { ON = 1, RECEIVES = 1 << 2, SENDS = 1 << 3 }; /* in CONTROL, and interrupts as in STATE */

/* an overrun that is not cleared interrupts for ever */
static inline void usart_clear(void) { REGISTER(USART, CLEAR) = OVERRUN; }

void usart_start(uint32_t clock_hz);

#endif
