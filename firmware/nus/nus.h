/* The link of a board over Bluetooth Low Energy: the Nordic UART Service, whatever the stack.
 *
 * nus.c holds what all stacks have in common: rings between the app and the callbacks of the stack,
 * notifications as long as the link carries, and waiting where the stack has no room. It gives the
 * app board_read, board_write, board_window and board_overruns (board.h). An adapter for a stack is
 * a folder beside it: it tells nus.c what happens, and gives the functions below.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_NUS_H
#define ESNN_NUS_H

#include <stddef.h>
#include <stdint.h>

/* Bytes for each direction, a power of two; the host's window. */
#ifndef NUS_RING
#define NUS_RING 2048u
#endif

/* The longest notification: what one packet of the radio carries with the data length extension. */
#define NUS_NOTIFICATION 244u

/* The UUIDs, least significant byte first: 6e40000n-b5a3-f393-e0a9-e50e24dcca9e. */
#define NUS_UUID(n) \
    0x9e, 0xca, 0xdc, 0x24, 0x0e, 0xe5, 0xa9, 0xe0, 0x93, 0xf3, 0xa3, 0xb5, (n), 0x00, 0x40, 0x6e
#define NUS_SERVICE 1    /* the service */
#define NUS_TO_BOARD 2   /* its characteristic that is written, with or without response */
#define NUS_FROM_BOARD 3 /* its characteristic that notifies */

/* What the adapter calls, from any task or callback, without the lock. */

/* The central wrote this. What finds no room is lost and counted. */
void nus_received(const uint8_t *data, size_t size);

/* A central listens, and so many bytes go into one of its notifications: the ATT MTU less 3. 0: it
 * does no more, or is gone: what waits for it is dropped. */
void nus_listens(size_t notification);

/* Wait until the stack has taken all that the app has said, or nobody listens: before a restart.
 * From the app's task only. */
void nus_drain(void);

/* What the adapter gives. */

/* Keep the app and the callbacks apart; held for the time of a copy. */
void nus_lock(void);
void nus_unlock(void);

/* Send a notification of so many bytes. 0: the stack has taken a copy; else it has no room, or no
 * link, and is asked again. Called from the app's task only, without the lock. */
int nus_notify(const uint8_t *data, size_t size);

/* Sleep until nus_wake, which may have come before, or for so many milliseconds; 0: no limit. An
 * adapter without tasks serves its stack here. Called from the app's task only. */
void nus_sleep(uint32_t milliseconds);

/* End a sleep. nus.c calls it when something has come; the adapter where the stack has room again.
 */
void nus_wake(void);

#endif
