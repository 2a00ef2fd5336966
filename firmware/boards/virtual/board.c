/* The board functions on a file descriptor.
 * SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "board.h"
#include "signature.h"
#include "store.h"
#include "virtual.h"

#define WINDOW 16384u /* less than a pty or a socket takes before it makes the host wait */
#define PACKET (4096u + 16u)

/* board.h names no board, as a microcontroller is just one: neither can a process be two */
static int link_fd;

/* flash as NOR flash behaves: programs clear bits, erases set those of a page */
static uint8_t *flash;
enum { FLASH_PAGE = 4096, FLASH_UNIT = 4 };

static uint8_t restarted;
static uint64_t deadline; /* of the watchdog, µs; 0: it is off */

/* a system call for each byte that the app reads or writes would cost more than the model */
static uint8_t received[4096], to_send[4096];
static size_t n_received, n_taken, n_to_send;

static uint64_t micros(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static const uint8_t *flash_read(uint32_t at) { return flash + at; }

static int flash_program(uint32_t at, const uint8_t *data, size_t n) {
    for (size_t k = 0; k < n; k++) {
        flash[at + k] &= data[k];
    }
    return 0;
}

static int flash_erase(uint32_t at) {
    memset(flash + at, 0xff, FLASH_PAGE);
    return 0;
}

static void restart(void) { restarted = 1; }

static void watch(uint32_t seconds) {
    deadline = seconds == 0 ? 0 : micros() + (uint64_t)seconds * 1000000u;
}

/* whether the watchdog ends everything before something comes */
static int waits_in_vain(void) {
    if (deadline == 0) {
        return 0;
    }
    struct pollfd p = {.fd = link_fd, .events = POLLIN};
    const uint64_t now = micros();
    return now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000u) + 1) == 0;
}

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
        if (waits_in_vain()) {
            restarted = 1;
            return 0;
        }
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

uint32_t board_micros(void) { return (uint32_t)micros(); }

/* the flash, in a file that outlives the board, or in memory that does not */
static uint8_t *map_flash(const char *path, size_t size) {
    const int fd = open(path == NULL ? "/dev/zero" : path, O_RDWR | O_CREAT, 0666);
    if (fd < 0 || (path != NULL && ftruncate(fd, (off_t)size) != 0)) {
        return NULL;
    }
    void *map =
        mmap(NULL, size, PROT_READ | PROT_WRITE, path == NULL ? MAP_PRIVATE : MAP_SHARED, fd, 0);
    close(fd);
    return map == MAP_FAILED ? NULL : map;
}

int virtual_board_run(int fd, size_t model_size, size_t arena_size, const char *flash_path) {
    const size_t slot = (model_size + FLASH_PAGE) / FLASH_PAGE * FLASH_PAGE + FLASH_PAGE;
    const esnn_store_config store = {
        .flash = {.size = (uint32_t)(2 * FLASH_PAGE + 2 * slot),
                  .page = FLASH_PAGE,
                  .unit = FLASH_UNIT,
                  .read = flash_read,
                  .program = flash_program,
                  .erase = flash_erase},
        .key = esnn_public_key,
        .development = esnn_development,
        .check = esnn_signature_check,
        .watch = watch,
        .restart = restart,
    };
    const esnn_app_memory memory = {
        .model = calloc(1, model_size),
        .model_size = model_size,
        .arena = calloc(1, arena_size),
        .arena_size = arena_size,
        .packet = calloc(1, PACKET),
        .packet_size = PACKET,
        .store = &store,
    };
    flash = map_flash(flash_path, store.flash.size);
    const int enough =
        memory.model != NULL && memory.arena != NULL && memory.packet != NULL && flash != NULL;
    if (enough) {
        link_fd = fd;
        n_received = n_taken = n_to_send = 0;
        do {
            restarted = 0;
            deadline = 0;
            esnn_app_run(&memory);
            flush();
        } while (restarted);
    }
    free(memory.model);
    free(memory.arena);
    free(memory.packet);
    if (flash != NULL) {
        munmap(flash, store.flash.size);
    }
    return enough ? 0 : -1;
}
