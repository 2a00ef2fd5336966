# ARM MPS2 with the AN500 image: Cortex-M7, under QEMU.
# SPDX-License-Identifier: Apache-2.0
CORE = cortex-m7
include boards/cmsdk/cmsdk.mk
