/* Every operation there is. A build for known models may take a table of its own instead:
 * `edgesnn operations MODEL` writes one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "esnn_internal.h"

const esnn_population_operation *const esnn_population_operations[ESNN_POPULATION_KINDS] = {
    [ESNN_LIF] = &esnn_op_lif,
    [ESNN_NEURON] = &esnn_op_neuron,
    [ESNN_INTEGRATOR] = &esnn_op_integrator,
    [ESNN_LINEAR_STATE] = &esnn_op_linear_state,
    [ESNN_DELAY_LINE] = &esnn_op_delay_line,
    [ESNN_LIF_BLOCKS] = &esnn_op_lif_blocks,
};

const esnn_projection_operation *const esnn_projection_operations[ESNN_PROJECTION_KINDS] = {
    [ESNN_DENSE8] = &esnn_op_dense8,   [ESNN_DENSE4] = &esnn_op_dense4,
    [ESNN_DENSE2] = &esnn_op_dense2,   [ESNN_DENSE_VALUES] = &esnn_op_dense_values,
    [ESNN_CONV] = &esnn_op_conv,       [ESNN_POOL] = &esnn_op_pool,
    [ESNN_DELAYED] = &esnn_op_delayed,
};

const esnn_readout_operation *const esnn_readout_operations[ESNN_READOUT_KINDS] = {
    [ESNN_SPIKE_COUNT] = &esnn_op_spike_count,
    [ESNN_POTENTIAL] = &esnn_op_potential,
    [ESNN_SOFTMAX_SUM] = &esnn_op_softmax_sum,
    [ESNN_FIRST_SPIKE] = &esnn_op_first_spike,
};
