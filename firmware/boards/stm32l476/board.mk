# ST STM32L476: Cortex-M4, as the Nucleo-L476RG has it.
# SPDX-License-Identifier: Apache-2.0
include boards/stm32l4/stm32l4.mk
RAM_SIZE = 96K
STACK_SIZE = 8K
