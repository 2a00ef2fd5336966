# ARM MPS3 with the AN547 image: Cortex-M55, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m55
include boards/cmsdk/cmsdk.mk
CPU += -mfloat-abi=hard
RAM_BASE = 0x30000000
