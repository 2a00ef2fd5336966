# What Nordic's nRF51 and nRF52 share.
# SPDX-License-Identifier: Apache-2.0
include boards/cortex-m/cortex-m.mk
SHARED += boards/nrf boards/signal
FLASH_BASE ?= 0x00000000
RAM_BASE = 0x20000000
