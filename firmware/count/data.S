/* Bytes that count.py makes. SPDX-License-Identifier: Apache-2.0 */
    .section .rodata.data, "a"
    .macro file name, path
    .balign 16
    .global \name, \name\()_end
\name:
    .incbin "\path"
\name\()_end:
    .endm
    file weights, weights.bin
    file extreme_weights, extreme_weights.bin
    file extreme_codes4, extreme_codes4.bin
    file extreme_codes2, extreme_codes2.bin
    file many_events, many_events.bin
    file one_layer, layers_1.bin
    file two_layers, layers_2.bin
