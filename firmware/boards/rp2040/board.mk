# Raspberry Pi RP2040: two Cortex-M0+, of which one is used, with the code in a flash outside, as the
# Pico has it. SPDX-License-Identifier: Apache-2.0
CORE = cortex-m0plus
include boards/cortex-m/cortex-m.mk
SHARED += boards/signal
FLASH_BASE = 0x10000000
FLASH_SIZE = 1M
RAM_BASE = 0x20000000
RAM_SIZE = 256K
STACK_SIZE = 8K
EXTRA_OBJECTS = $(OUT)/boot2.o
