/* The task of a blimp's altitude controller, all in integers: recorded flights or a model of the
 * blimp, the PID that is to be mimicked, and how well a controller does. One tick is 0.1 s.
 * blimp/task.py is the same in Python, and says what every number means.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_BLIMP_H
#define ESNN_BLIMP_H

#include <stdint.h>

/* Who flies: nobody (the altitude was recorded), the PID, or the network. */
enum { BLIMP_RECORDED, BLIMP_PID, BLIMP_NETWORK };
/* Terms of the PID. */
enum { BLIMP_P = 1, BLIMP_D = 2, BLIMP_I = 4 };
/* What windows are for: no window of one is one of another. */
enum { BLIMP_TRAIN, BLIMP_VALIDATE, BLIMP_TEST, BLIMP_ROLES };

#define BLIMP_SEGMENTS 8u /* of recorded altitude */
#define BLIMP_SCRIPT 8u   /* set-points in a row */
#define BLIMP_MAX_DELAY 7
#define BLIMP_LIMIT 2560 /* a command of 10, in 1/256 */
#define BLIMP_DUTIES 45  /* of which the motor takes 9 to 39 */

typedef struct {
    int32_t low, high;
} blimp_range;

typedef struct {
    int32_t start, length, role;
} blimp_segment;

typedef struct {
    int32_t flier, target, helper;            /* of the enumerations above */
    int32_t kp, kd, ki, integral_limit;       /* 1/256000 a cm, a cm and tick; cm ticks */
    int32_t ticks, windows[BLIMP_ROLES];      /* of a window; windows of an evaluation */
    int32_t settled_weight, overshoot_weight; /* of the error late in a set-point's time; of how far
                                               * a step is overshot */
    blimp_range hold;                /* ticks from knot to knot, from set-point to the next */
    int32_t displaced, displacement; /* chance of a knot, in 1/256; most, in cm */
    blimp_range reference;           /* set-points, cm */
    int32_t n_script, script[BLIMP_SCRIPT]; /* set-points of equal length instead; 0: random */
    /* the model: Q20 of m, m/s, m/s^2; shares a tick in Q15 */
    int32_t drag, quadratic, stiffness, rest, tick; /* tick: 0.1 s in Q15 */
    int32_t thrust[2];                              /* up and down, Q20 / (256 duties)^2 * 2^16 */
    int32_t duty_zero;                              /* without thrust, 1/256 */
    blimp_range buoyancy, lag, dead, delay, flip;   /* of a window; dead in 1/256, ticks */
    int32_t n_segments;
    blimp_segment segments[BLIMP_SEGMENTS]; /* of the recorded altitude */
} blimp_task;

typedef struct {
    const blimp_task *task;
    const int16_t *track; /* recorded altitude, cm */
    uint32_t seed, drawn; /* numbers drawn from the seed */
    int32_t tick, start, reference, next_reference, hold_start, hold_ticks;
    int32_t error, change, integral;                                 /* cm, cm a tick, cm ticks */
    int32_t height, speed, thrust, buoyancy, lag, dead, delay, flip; /* the model's */
    int32_t sign, flipping, queue[BLIMP_MAX_DELAY + 1];
    int32_t terms[3], command, target; /* 1/256 */
    int64_t sum_x, sum_y, sum_xx, sum_yy, sum_xy, sum_off, sum_squares, sum_settled;
    int32_t n_settled, direction, overshoot, n_steps;
    int64_t sum_overshoot; /* of the steps before this one */
} blimp_flight;

/* 32 bits from a seed and a count (Wellons' lowbias32 of a Weyl sequence). */
uint32_t blimp_hash(uint32_t seed, uint32_t count);

/* Begin a window, named by its role and a seed. */
void blimp_begin(blimp_flight *f, const blimp_task *task, const int16_t *track, int32_t role,
                 uint32_t seed);

/* The error that the controller sees in this tick, cm. */
int16_t blimp_observe(blimp_flight *f);

/* What the network answers, 1/256; the blimp moves on by a tick. */
void blimp_answer(blimp_flight *f, int32_t command);

/* Of the ticks so far, Q16. Of a mimic: mean absolute error, in the paper's unit, 0.33 of ours,
 * plus 1 - Pearson correlation. Of a network that flies: root mean square of the altitude error in
 * m, plus its mean size when settled and the mean overshoot, weighed. */
uint32_t blimp_loss(const blimp_flight *f);

/* Whether the numbers of a task are in range, for a track of so many samples. */
int blimp_check(const blimp_task *task, uint32_t samples);

/* Recorded altitude to a grid of 0.1 s: samples come with time stamps of any steady clock, at any
 * pace, late or bunched. */
typedef struct {
    uint32_t micros; /* of the last sample, and since when the grid waits */
    uint32_t waited;
    int32_t millimetres;
    uint8_t started;
} blimp_recorder;

/* Take in a sample: up to `room` altitudes in cm are written, and their number returned. Between
 * two samples altitude goes on a line; a sample not later than the one before replaces it. */
uint32_t blimp_record(blimp_recorder *r, uint32_t micros, int32_t millimetres, int16_t *out,
                      uint32_t room);

#endif
