/* The flash of an adapter that keeps models, by the means of its world.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_KEEP_H
#define ESNN_KEEP_H

#include "store.h"

/* For the app's memory; NULL where there is no such flash: the app then keeps none. */
const esnn_store_config *nus_store(void);

#endif
