/* SPDX-License-Identifier: Apache-2.0 */
#include "blimp.h"

#define Q15 32768
#define METRE ((int32_t)1 << 20)
#define GRID 100000u /* µs */

uint32_t blimp_hash(uint32_t seed, uint32_t count) {
    uint32_t x = seed + count * 0x9e3779b9u;
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

static int32_t draw(blimp_flight *f, blimp_range range) {
    const uint32_t span = (uint32_t)(range.high - range.low) + 1u;
    return range.low + (int32_t)(((uint64_t)blimp_hash(f->seed, f->drawn++) * span) >> 32);
}

static int32_t clip(int64_t x, int32_t limit) {
    return x < -limit ? -limit : x > limit ? limit : (int32_t)x;
}

/* x times a number in Q15, rounded down */
static int32_t part(int32_t x, int32_t q15) { return (int32_t)(((int64_t)x * q15) >> 15); }

/* where a recorded window starts: anywhere that it fits into a segment of its role */
static int32_t place(blimp_flight *f, int32_t role) {
    const blimp_task *t = f->task;
    int32_t places = 0;
    for (int32_t k = 0; k < t->n_segments; k++) {
        if (t->segments[k].role == role) {
            places += t->segments[k].length - t->ticks;
        }
    }
    int32_t at = draw(f, (blimp_range){0, places - 1});
    for (const blimp_segment *s = t->segments;; s++) { /* it is in one of them */
        const int32_t here = s->role == role ? s->length - t->ticks : 0;
        if (at < here) {
            return s->start + at;
        }
        at -= here;
    }
}

void blimp_begin(blimp_flight *f, const blimp_task *task, const int16_t *track, int32_t role,
                 uint32_t seed) {
    *f = (blimp_flight){.task = task, .track = track, .seed = seed};
    f->sign = 1;
    if (task->flier == BLIMP_RECORDED) {
        f->start = place(f, role);
        f->next_reference = track[f->start];
        return;
    }
    f->buoyancy = draw(f, task->buoyancy);
    f->lag = draw(f, task->lag);
    f->dead = draw(f, task->dead);
    f->delay = draw(f, task->delay);
    f->flip = draw(f, task->flip);
    f->height = task->rest;
    if (task->n_script > 0) { /* a flight by script begins where it is to be */
        f->height = (int32_t)((int64_t)task->script[0] * METRE / 100);
    }
}

/* the set-point goes on a line through, or near, recorded altitudes */
static void lead(blimp_flight *f) {
    const blimp_task *t = f->task;
    const int32_t left = t->ticks - 1 - f->tick;
    f->reference = f->next_reference;
    f->hold_start = f->tick;
    f->hold_ticks = draw(f, t->hold);
    if (f->hold_ticks > left) {
        f->hold_ticks = left > 0 ? left : 1;
    }
    const int32_t displaced = draw(f, (blimp_range){0, 255}) < t->displaced;
    const int32_t by = draw(f, (blimp_range){-t->displacement, t->displacement});
    const int32_t end = f->tick + f->hold_ticks < t->ticks ? f->tick + f->hold_ticks : f->tick;
    f->next_reference = f->track[f->start + end] + (displaced ? by : 0);
}

/* the next set-point of a flight, in a step */
static void set(blimp_flight *f) {
    const blimp_task *t = f->task;
    f->hold_start = f->tick;
    if (t->n_script > 0) {
        f->hold_ticks = t->ticks / t->n_script;
        const int32_t k = f->tick / f->hold_ticks;
        f->reference = t->script[k < t->n_script ? k : t->n_script - 1];
        return;
    }
    f->hold_ticks = draw(f, t->hold);
    f->reference = draw(f, t->reference);
}

static int32_t setpoint(const blimp_flight *f) {
    if (f->task->flier != BLIMP_RECORDED) {
        return f->reference;
    }
    const int32_t way = (f->next_reference - f->reference) * (f->tick - f->hold_start);
    return f->reference + way / f->hold_ticks;
}

/* the lidar's: whole centimetres */
static int32_t altitude(const blimp_flight *f) {
    if (f->task->flier == BLIMP_RECORDED) {
        return f->track[f->start + f->tick];
    }
    return (int32_t)(((int64_t)f->height * 100 + METRE / 2) >> 20);
}

int16_t blimp_observe(blimp_flight *f) {
    const blimp_task *t = f->task;
    if (f->tick >= f->hold_start + f->hold_ticks) {
        if (t->flier == BLIMP_RECORDED) {
            lead(f);
        } else {
            set(f);
        }
    }
    const int32_t error = clip(setpoint(f) - altitude(f), 1000);
    f->change = f->tick > 0 ? error - f->error : 0;
    f->error = error;
    f->integral = clip((int64_t)f->integral + error, t->integral_limit);
    f->terms[0] = (int32_t)((int64_t)t->kp * error / 1000);
    f->terms[1] = (int32_t)((int64_t)t->kd * f->change / 1000);
    f->terms[2] = (int32_t)((int64_t)t->ki * f->integral / 1000);
    return (int16_t)error;
}

static int32_t sum_of(const blimp_flight *f, int32_t terms) {
    int64_t sum = 0;
    for (int k = 0; k < 3; k++) {
        sum += (terms >> k & 1) != 0 ? f->terms[k] : 0;
    }
    return clip(sum, BLIMP_LIMIT);
}

/* what the motors give for a command: dead zone, a servo that takes time to turn them over, whole
 * steps of their duty */
static int32_t push(blimp_flight *f, int32_t command) {
    const blimp_task *t = f->task;
    const int32_t size = command < 0 ? -command : command, sign = command < 0 ? -1 : 1;
    if (size < f->dead) {
        return 0;
    }
    if (sign != f->sign) {
        f->sign = sign;
        f->flipping = f->flip;
    }
    if (f->flipping > 0) {
        f->flipping--;
        return 0;
    }
    const int32_t above = ((9 + (3 * size >> 8)) << 8) - t->duty_zero;
    return sign * (int32_t)(((int64_t)above * above * t->thrust[sign < 0]) >> 16);
}

static void move(blimp_flight *f, int32_t command) {
    const blimp_task *t = f->task;
    for (int32_t k = f->delay; k > 0; k--) {
        f->queue[k] = f->queue[k - 1];
    }
    f->queue[0] = command;
    f->thrust += part(push(f, f->queue[f->delay]) - f->thrust, f->lag);
    const int32_t fast = f->speed < 0 ? -f->speed : f->speed;
    const int32_t square = (int32_t)(((int64_t)f->speed * fast) >> 20);
    const int32_t gain = f->thrust - part(f->speed, t->drag) - part(square, t->quadratic) +
                         f->buoyancy - part(f->height - t->rest, t->stiffness);
    f->speed = clip((int64_t)f->speed + part(gain, t->tick), 8 * METRE);
    f->height = clip((int64_t)f->height + part(f->speed, t->tick), 64 * METRE);
}

/* how far behind the set-point it gets, coming from the side on which it was when that changed */
static void watch(blimp_flight *f) {
    if (f->tick == f->hold_start) {
        f->sum_overshoot += f->overshoot;
        f->overshoot = 0;
        f->direction = f->error < 0 ? -1 : 1;
        f->n_steps++;
    }
    if (-f->direction * f->error > f->overshoot) {
        f->overshoot = -f->direction * f->error;
    }
}

void blimp_answer(blimp_flight *f, int32_t command) {
    const blimp_task *t = f->task;
    const int32_t x = clip(command, BLIMP_LIMIT), y = sum_of(f, t->target);
    f->target = y;
    f->command = x;
    if (t->flier == BLIMP_NETWORK) {
        f->command = clip((int64_t)x + sum_of(f, t->helper), BLIMP_LIMIT);
        f->sum_squares += (int64_t)f->error * f->error;
        if (f->tick - f->hold_start >= f->hold_ticks / 2) {
            f->sum_settled += f->error < 0 ? -f->error : f->error;
            f->n_settled++;
        }
        watch(f);
    } else {
        f->sum_x += x;
        f->sum_y += y;
        f->sum_xx += (int64_t)x * x;
        f->sum_yy += (int64_t)y * y;
        f->sum_xy += (int64_t)x * y;
        f->sum_off += x < y ? y - x : x - y;
    }
    if (t->flier != BLIMP_RECORDED) {
        move(f, t->flier == BLIMP_PID ? sum_of(f, BLIMP_P | BLIMP_D | BLIMP_I) : f->command);
    }
    f->tick++;
}

/* rounded down */
static uint32_t square_root(uint64_t x) {
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 62; bit != 0; bit >>= 2) {
        if (x >= root + bit) {
            x -= root + bit;
            root = (root >> 1) + bit;
        } else {
            root >>= 1;
        }
    }
    return (uint32_t)root;
}

/* Q16 */
static int32_t correlation(const blimp_flight *f) {
    const int64_t n = f->tick;
    const int64_t x = n * f->sum_xx - f->sum_x * f->sum_x, y = n * f->sum_yy - f->sum_y * f->sum_y;
    const int64_t together = n * f->sum_xy - f->sum_x * f->sum_y;
    /* of 4096 ticks each is below 2^47, a root of 2^12 times that below 2^30 */
    const uint64_t both =
        ((uint64_t)square_root((uint64_t)x << 12) * square_root((uint64_t)y << 12)) >> 12;
    return both == 0 ? 0 : (int32_t)(together * 65536 / (int64_t)both);
}

uint32_t blimp_loss(const blimp_flight *f) {
    const int64_t n = f->tick > 0 ? f->tick : 1;
    if (f->task->flier != BLIMP_NETWORK) {
        const int64_t off = f->sum_off * 256 * 33 / (100 * n);
        return (uint32_t)(off + 65536 - correlation(f));
    }
    const int64_t rms = (int64_t)square_root((uint64_t)f->sum_squares * 1048576u / (uint64_t)n);
    const int64_t settled =
        f->n_settled > 0 ? f->sum_settled * 65536 / (100 * (int64_t)f->n_settled) : 0;
    const int64_t overshoot =
        f->n_steps > 0 ? (f->sum_overshoot + f->overshoot) * 65536 / (100 * (int64_t)f->n_steps)
                       : 0;
    return (uint32_t)(rms * 64 / 100 + f->task->settled_weight * settled +
                      f->task->overshoot_weight * overshoot);
}

static int in(int32_t x, int32_t low, int32_t high) { return x >= low && x <= high; }

static int ranges(const blimp_range *r, int32_t low, int32_t high) {
    return in(r->low, low, high) && in(r->high, low, high) && r->low <= r->high;
}

int blimp_check(const blimp_task *t, uint32_t samples) {
    int right = in(t->flier, 0, BLIMP_NETWORK) && in(t->target, 0, 7) && in(t->helper, 0, 7) &&
                in(t->kp, 0, 1 << 24) && in(t->kd, 0, 1 << 24) && in(t->ki, 0, 1 << 24) &&
                in(t->integral_limit, 0, 1 << 24) && in(t->ticks, 2, 4096) &&
                in(t->settled_weight, 0, 16) && in(t->overshoot_weight, 0, 16) &&
                ranges(&t->hold, 1, 4096) && in(t->displaced, 0, 256) &&
                in(t->displacement, 0, 1000) && ranges(&t->reference, 0, 1000) &&
                in(t->n_script, 0, (int32_t)BLIMP_SCRIPT) && in(t->n_script, 0, t->ticks) &&
                in(t->drag, 0, Q15) && in(t->quadratic, 0, Q15) && in(t->stiffness, 0, Q15) &&
                in(t->rest, 0, 16 * METRE) && in(t->tick, 1, Q15) && in(t->thrust[0], 0, 1 << 16) &&
                in(t->thrust[1], 0, 1 << 16) && in(t->duty_zero, 0, 9 << 8) &&
                ranges(&t->buoyancy, -METRE, METRE) && ranges(&t->lag, 1, Q15) &&
                ranges(&t->dead, 0, BLIMP_LIMIT) && ranges(&t->delay, 0, BLIMP_MAX_DELAY) &&
                ranges(&t->flip, 0, 100) && in(t->n_segments, 0, (int32_t)BLIMP_SEGMENTS);
    int there[BLIMP_ROLES] = {0, 0, 0};
    for (int32_t k = 0; right && k < t->n_segments; k++) {
        const blimp_segment *s = &t->segments[k];
        right = in(s->start, 0, (int32_t)samples) && in(s->length, 0, 1 << 20) &&
                (t->flier != BLIMP_RECORDED || s->length > t->ticks) &&
                in(s->start + s->length, 0, (int32_t)samples) && in(s->role, 0, BLIMP_ROLES - 1);
        if (right) {
            there[s->role] = 1;
        }
    }
    for (int32_t k = 0; right && k < BLIMP_ROLES; k++) {
        right = in(t->windows[k], k == BLIMP_TEST ? 0 : 1, 64) &&
                (t->flier != BLIMP_RECORDED || there[k] || t->windows[k] == 0);
    }
    for (int32_t k = 0; right && k < t->n_script; k++) {
        right = in(t->script[k], 0, 1000);
    }
    return right;
}

uint32_t blimp_record(blimp_recorder *r, uint32_t micros, int32_t millimetres, int16_t *out,
                      uint32_t room) {
    uint32_t n = 0;
    const uint32_t passed = micros - r->micros;
    if (!r->started) {
        *r = (blimp_recorder){micros, 0, millimetres, 1};
        if (room > 0) {
            out[n++] = (int16_t)((millimetres + 5) / 10);
        }
        return n;
    }
    if (passed == 0 || passed >= 0x80000000u) {
        r->millimetres = millimetres; /* not later: the newer word counts */
        return 0;
    }
    const uint32_t had = r->waited;
    r->waited += passed;
    for (uint32_t at = GRID; at <= r->waited; at += GRID) {
        const int64_t way = (int64_t)(millimetres - r->millimetres) * (int64_t)(at - had);
        if (n < room) {
            out[n++] = (int16_t)((r->millimetres + way / (int64_t)passed + 5) / 10);
        }
    }
    r->waited %= GRID;
    r->micros = micros;
    r->millimetres = millimetres;
    return n;
}
