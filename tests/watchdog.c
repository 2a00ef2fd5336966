/* The virtual board's watchdog, on a link on which there is always something to read; run by
 * tests/test_faults.py.
 * SPDX-License-Identifier: Apache-2.0 */
#include "board.c"

#include <stdio.h>

int main(void) {
    uint8_t data[5];
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "hello, board", 12) != 12) {
        return 2;
    }
    link_fd = ends[0];
    watch(60);
    printf("before: %d bytes\n", (int)board_read(data, sizeof data));
    n_taken = n_received;
    if (write(ends[1], "more", 4) != 4) {
        return 2;
    }
    deadline = micros();
    printf("after: %s\n", board_read(data, sizeof data) == 0 && restarted ? "restarted" : "read");
    return 0;
}
