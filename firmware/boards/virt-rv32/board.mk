# QEMU's generic RISC-V machine: one hart of RV32IMAC, all in machine mode.
# SPDX-License-Identifier: Apache-2.0
CROSS = riscv64-unknown-elf-
CROSS_PACKAGE = gcc-riscv64-unknown-elf
CPU = -march=rv32imac -misa-spec=2.2 -mabi=ilp32 -mcmodel=medany
SHARED = boards/riscv boards/ram-flash boards/signal
QEMU = qemu-system-riscv32 -M virt -bios none
# the machine starts in RAM: the half that holds the code stands in for flash
FLASH_BASE = 0x80000000
FLASH_SIZE = 512K
RAM_BASE = 0x80080000
RAM_SIZE = 512K
STACK_SIZE = 16K
