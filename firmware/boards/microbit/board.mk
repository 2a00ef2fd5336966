# BBC micro:bit: Nordic nRF51822 with a Cortex-M0, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m0
include boards/cortex-m/cortex-m.mk
SHARED += boards/signal
FLASH_BASE = 0x00000000
FLASH_SIZE = 256K
RAM_BASE = 0x20000000
RAM_SIZE = 16K
# the deepest calls of app and core add up to 1.1 KB (-fstack-usage), interrupts included
STACK_SIZE = 1K
