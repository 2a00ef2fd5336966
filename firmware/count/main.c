/* What is counted. A region's name is said after it; count.py joins names and counts by order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"
#include "guest.h"

/* the markers: the plugin knows their addresses */
void bench_begin(void);
void bench_end(void);

__attribute__((noinline, used)) void bench_begin(void) { __asm__ volatile("nop"); }

__attribute__((noinline, used)) void bench_end(void) { __asm__ volatile("nop" ::: "memory"); }

/* no instruction of the two may stay behind in a register over the markers */
#define REGION(name, code)        \
    do {                          \
        bench_begin();            \
        code;                     \
        bench_end();              \
        say("region " name "\n"); \
    } while (0)

enum { N = 128, FEW = 13, BLOCK = 7, DECAY = 29491, QUIET = 1 << 28 };

static int32_t v[N], current[N], threshold[N];
static uint16_t events[N], fired[N];

/* set up so that `spikes` of the N neurons spike in the next update */
static void prepare(size_t spikes) {
    for (size_t k = 0; k < N; k++) {
        v[k] = (int32_t)(random32() % 20000u) - 10000;
        current[k] = (int32_t)(random32() % 4000u) - 2000;
        threshold[k] = QUIET;
    }
    for (size_t k = 0; k < spikes;) {
        const size_t at = random32() % N;
        k += threshold[at] == QUIET;
        threshold[at] = 1000;
        current[at] = 20000;
    }
}

/* `n` of the N inputs, spread */
static void choose(size_t n) {
    for (size_t e = 0; e < n; e++) {
        events[e] = (uint16_t)(e * N / n);
    }
}

/* one input of every block */
static void choose_blocks(void) {
    for (size_t e = 0; e < FEW; e++) {
        events[e] = (uint16_t)(e * BLOCK + e % BLOCK);
    }
}

static int count_model(const uint8_t *image, const uint8_t *end, void *arena, size_t size) {
    esnn_model m;
    esnn_result out;
    if (esnn_load(&m, image, (size_t)(end - image), arena, size) != ESNN_OK) {
        return 0;
    }
    const esnn_header *h = esnn_header_of(image);
    const size_t width = esnn_populations_of(image)->size;
    const int16_t *frame = (const int16_t *)(const void *)(image + h->selftest);
    esnn_status status = ESNN_OK;
    for (size_t t = 0; t < h->selftest_steps && status == ESNN_OK; t++, frame += width) {
        REGION("model_step", status = esnn_step(&m, frame, &out));
    }
    return status == ESNN_OK && esnn_selftest(&m) == ESNN_OK;
}

#define COUNT_LIF(name, kernel, spikes)                                   \
    do {                                                                  \
        prepare(spikes);                                                  \
        REGION(name, n = kernel(v, current, threshold, DECAY, N, fired)); \
        right = right && n == (spikes);                                   \
    } while (0)

/* from the second step on there are neurons to reset */
#define COUNT_LAYERS(name, image, end, layers)                                         \
    do {                                                                               \
        esnn_model m;                                                                  \
        esnn_result out = {0};                                                         \
        const size_t bytes = (size_t)((end) - (image));                                \
        esnn_status status = esnn_load(&m, image, bytes, arena, sizeof arena);         \
        status = status != ESNN_OK ? status : esnn_step_events(&m, events, FEW, &out); \
        if (status == ESNN_OK) {                                                       \
            REGION(name, status = esnn_step_events(&m, events, FEW, &out));            \
        }                                                                              \
        right = right && status == ESNN_OK && out.spikes == FEW * (layers) &&          \
                out.synops == FEW * N * (layers);                                      \
    } while (0)

int main(void) {
    static uint32_t arena[ARENA_SIZE / 4];
    say("kernels ");
    say(esnn_kernel_name());
    say("\n");
    int right = 1;
    REGION("empty", (void)0);
    choose(N);
    REGION("events_128", esnn_dense_events(current, weights, N, N, 3, events, N, 0));
    REGION("portable_events_128",
           esnn_dense_events_portable(current, weights, N, N, 3, events, N, 0));
    REGION("events4_128", esnn_dense4_events(current, weights, N, N, 3, events, N, 0));
    REGION("portable_events4_128",
           esnn_dense4_events_portable(current, weights, N, N, 3, events, N, 0));
    REGION("events2_128", esnn_dense2_events(current, weights, N, N, 3, events, N, 0));
    REGION("portable_events2_128",
           esnn_dense2_events_portable(current, weights, N, N, 3, events, N, 0));
    choose(FEW);
    REGION("events2_13", esnn_dense2_events(current, weights, N, N, 3, events, FEW, 0));
    REGION("events4_13", esnn_dense4_events(current, weights, N, N, 3, events, FEW, 0));
    REGION("events_13", esnn_dense_events(current, weights, N, N, 3, events, FEW, 0));
    choose_blocks();
    REGION("blocks", esnn_blocks_events(current, weights, BLOCK, BLOCK, 3, events, FEW));
    REGION("clear", esnn_clear(current, N));
    size_t n;
    COUNT_LIF("lif", esnn_lif, FEW);
    COUNT_LIF("portable_lif", esnn_lif_portable, FEW);
    COUNT_LIF("lif_silent", esnn_lif, 0);
    COUNT_LIF("lif_saturating", esnn_lif_saturating, FEW);
    uint32_t changed;
    prepare(0);
    REGION("decay", changed = esnn_decay(v, N, DECAY));
    right = right && changed != 0;
    choose(FEW);
    COUNT_LAYERS("one_layer_10pct", one_layer, one_layer_end, 1);
    COUNT_LAYERS("two_layers_10pct", two_layers, two_layers_end, 2);
    if ((uintptr_t)model_image_end > (uintptr_t)model_image) {
        right = right && count_model(model_image, model_image_end, arena, sizeof arena);
    }
    right = right && check_kernels();
    say(right ? "CHECK OK\n" : "CHECK FAIL\n");
    return right ? 0 : 1;
}
