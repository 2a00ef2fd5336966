/* SPDX-License-Identifier: Apache-2.0 */
#include "signature.h"

#include "monocypher.h"

/* a header that `edgesnn keys` wrote, as the build names it */
#ifdef ESNN_KEY_HEADER
#include ESNN_KEY_HEADER
const uint8_t esnn_development = 0;
#else
#include "development_key.h"
const uint8_t esnn_development = 1;
#endif

const uint8_t esnn_public_key[32] = {ESNN_PUBLIC_KEY};

int esnn_signature_check(const uint8_t *signature, const uint8_t *key, const uint8_t *data,
                         size_t size) {
    return crypto_eddsa_check(signature, key, data, size);
}
