/* A model and frames that count.py makes. SPDX-License-Identifier: Apache-2.0 */
    .section .rodata.data, "a"
    .macro file name, path
    .balign 16
    .global \name, \name\()_end
\name:
    .incbin "\path"
\name\()_end:
    .endm
    file model_image, model.bin
    file model_frames, frames.bin
    file script, script.bin
