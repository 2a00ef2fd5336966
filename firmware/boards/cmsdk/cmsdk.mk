# What ARM's MPS2 and MPS3 boards share: CMSDK peripherals, and an ordinary microcontroller's share
# of their memory.
# SPDX-License-Identifier: Apache-2.0
include boards/cortex-m/cortex-m.mk
SHARED += boards/cmsdk boards/signal boards/ram-flash
FLASH_BASE = 0x00000000
FLASH_SIZE = 512K
RAM_BASE = 0x20000000
RAM_SIZE = 512K
STACK_SIZE = 16K
