/* The virtual board: the stream app on the host, on a file descriptor.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_VIRTUAL_H
#define ESNN_VIRTUAL_H

#include <stddef.h>

/* Serve fd, a stream (a pty in raw mode, a socket), until its other end is closed. One board a
 * process. flash_path: the file that its flash is kept in, NULL: it is forgotten. Returns 0, or -1
 * if there is no memory for a model and an arena of these sizes, or no such file. */
int virtual_board_run(int fd, size_t model_size, size_t arena_size, const char *flash_path);

#endif
