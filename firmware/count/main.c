/* What is counted. A region's name is said after it; count.py joins names and counts by order.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"
#include "guest.h"

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
    REGION("blocks", esnn_blocks_events(current, weights, BLOCK, BLOCK, 3, events, FEW, NULL));
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
    right = right && check_kernels();
    say(right ? "CHECK OK\n" : "CHECK FAIL\n");
    return right ? 0 : 1;
}
