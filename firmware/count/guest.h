/* What the files of the counting image share. It runs under QEMU alone: no devices, and a
 * debugger's calls (semihosting) for its words. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_GUEST_H
#define ESNN_GUEST_H

#include <stdint.h>

/* Write to QEMU's standard error. */
void say(const char *text);

/* The program; what it returns becomes QEMU's exit status. */
int main(void);

/* Every fast kernel against its portable twin; 1 where all results are the same. */
int check_kernels(void);

/* 32 random bits; the same sequence on every run. */
uint32_t random32(void);

/* Random weights of a layer with up to 130 neurons and 300 inputs, and the images of count.py. */
#define MAX_OUT 130u
#define MAX_IN 300u
extern const int8_t weights[], extreme_weights[];
extern const uint8_t one_layer[], one_layer_end[], two_layers[], two_layers_end[];
extern const uint8_t model_image[], model_image_end[];

#endif
