/* A virtual board at the other end of standard input, for tests that build it in another way.
 * SPDX-License-Identifier: Apache-2.0 */
#include "virtual.h"

int main(void) { return virtual_board_run(0, 1u << 16, 1u << 16, NULL); }
