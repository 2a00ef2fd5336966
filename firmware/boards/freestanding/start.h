/* How a board without an operating system starts: reset, the entry point that link.ld names, sets
 * up the processor and calls start, which sets up the rest and runs the app.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_START_H
#define ESNN_START_H

#include <stdint.h>

/* from link.ld; arrays, because only their addresses mean something */
extern uint8_t stack_top[], data_start[], data_end[], data_load[], bss_start[], bss_end[];

void reset(void);
void start(void);

/* The board's clock, from here on read by board_micros. */
void clock_start(void);

/* Behind the last byte of the arena: the top of a stack in it, while no model runs. */
void *arena_end(void);

#endif
