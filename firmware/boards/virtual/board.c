/* The board functions on a file descriptor.
 * SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "board.h"
#include "virtual.h"

#define WINDOW 16384u /* less than a pty or a socket takes before it makes the host wait */
#define PACKET (4096u + 16u)

/* board.h names no board, as a microcontroller is just one: neither can a process be two */
static int link_fd;

/* a system call for each byte that the app reads or writes would cost more than the model */
static uint8_t received[4096], to_send[4096];
static size_t n_received, n_taken, n_to_send;

/* after a transfer that failed: may it be tried again? Waits until it is worth it. */
static int try_again(short events) {
    struct pollfd p = {.fd = link_fd, .events = events};
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return poll(&p, 1, -1) > 0 || errno == EINTR;
    }
    return errno == EINTR;
}

const char *board_name(void) { return "virtual"; }

static void flush(void) {
    for (size_t done = 0; done < n_to_send;) {
        const ssize_t sent = write(link_fd, to_send + done, n_to_send - done);
        if (sent >= 0) {
            done += (size_t)sent;
        } else if (!try_again(POLLOUT)) {
            break; /* nobody is left to read it, which the next board_read tells the app */
        }
    }
    n_to_send = 0;
}

size_t board_read(uint8_t *data, size_t max) {
    while (n_taken == n_received) {
        flush();
        const ssize_t n = read(link_fd, received, sizeof received);
        if (n < 0 && try_again(POLLIN)) {
            continue;
        }
        if (n <= 0) { /* a pty tells its end by EIO */
            return 0;
        }
        n_received = (size_t)n;
        n_taken = 0;
    }
    const size_t left = n_received - n_taken;
    const size_t n = left < max ? left : max;
    memcpy(data, received + n_taken, n);
    n_taken += n;
    return n;
}

size_t board_window(void) { return WINDOW; }

uint32_t board_overruns(void) { return 0; } /* the host is made to wait instead */

void board_write(const uint8_t *data, size_t n) {
    while (n > 0) {
        const size_t room = sizeof to_send - n_to_send;
        const size_t part = n < room ? n : room;
        memcpy(to_send + n_to_send, data, part);
        n_to_send += part;
        data += part;
        n -= part;
        if (n_to_send == sizeof to_send) {
            flush();
        }
    }
}

uint32_t board_micros(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
}

int virtual_board_run(int fd, size_t model_size, size_t arena_size) {
    const esnn_app_memory memory = {
        .model = calloc(1, model_size),
        .model_size = model_size,
        .arena = calloc(1, arena_size),
        .arena_size = arena_size,
        .packet = calloc(1, PACKET),
        .packet_size = PACKET,
    };
    const int enough = memory.model != NULL && memory.arena != NULL && memory.packet != NULL;
    if (enough) {
        link_fd = fd;
        n_received = n_taken = n_to_send = 0;
        esnn_app_run(&memory);
    }
    free(memory.model);
    free(memory.arena);
    free(memory.packet);
    return enough ? 0 : -1;
}
