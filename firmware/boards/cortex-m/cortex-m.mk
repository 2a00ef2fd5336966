# What Cortex-M boards share.
# SPDX-License-Identifier: Apache-2.0
CROSS = arm-none-eabi-
CROSS_PACKAGE = gcc-arm-none-eabi
CPU = -mthumb -mcpu=$(CORE)
SHARED = boards/cortex-m
QEMU = qemu-system-arm -M $(BOARD)
