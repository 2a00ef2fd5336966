/* What the files of the counting image share. It runs under QEMU alone: no devices, and a
 * debugger's calls (semihosting) for its words. SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_GUEST_H
#define ESNN_GUEST_H

#include <stddef.h>
#include <stdint.h>

/* Write to QEMU's standard error. */
void say(const char *text);

/* Files of the emulator's machine, for reading or writing; above 0 if that went well. */
intptr_t open_file(const char *name, int for_writing);

/* All n bytes or none: 1 or 0. */
int read_file(intptr_t file, void *data, size_t n);
int write_file(intptr_t file, const void *data, size_t n);
int close_file(intptr_t file);

/* The program; what it returns becomes QEMU's exit status. */
int main(void);

/* the markers: the plugin knows their addresses */
void bench_begin(void);
void bench_end(void);

/* no instruction of the two may stay behind in a register over the markers */
#define REGION(name, code)        \
    do {                          \
        bench_begin();            \
        code;                     \
        bench_end();              \
        say("region " name "\n"); \
    } while (0)

/* Every fast kernel against its portable twin; 1 where all results are the same. */
int check_kernels(void);

/* 32 random bits; the same sequence on every run. */
uint32_t random32(void);

/* Random weights of a layer with up to 130 neurons and 300 inputs, weights at the ends of their
 * range for up to 30 inputs, the last two of three such lists all at one end, and more events of
 * the first inputs than 12 bits count. The images of count.py. */
#define MAX_OUT 130u
#define MAX_IN 300u
#define EXTREME_IN 30u
#define EXTREME_BYTES (132u * EXTREME_IN)
#define MANY_EVENTS 4200u
#define MANY_EVENTS_IN 8u
extern const int8_t weights[], extreme_weights[], extreme_codes4[], extreme_codes2[];
extern const uint16_t many_events[];
extern const uint8_t one_layer[], one_layer_end[], two_layers[], two_layers_end[];

/* A model, the frames that it is run on, and packets that put it on a board and stream them to it,
 * in images of their own. */
extern const uint8_t model_image[], model_image_end[], model_frames[], model_frames_end[];
extern const uint8_t script[], script_end[];

#endif
