/* Signatures of updates: EdDSA over Curve25519 with BLAKE2b, by Monocypher.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef ESNN_SIGNATURE_H
#define ESNN_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

/* 1: this build has the development key, whose private half is in every copy of edgesnn. */
extern const uint8_t esnn_development;

/* The public key that this build was made with. */
extern const uint8_t esnn_public_key[32];

/* 0: the bytes were signed with the private half of the key. */
int esnn_signature_check(const uint8_t *signature, const uint8_t *key, const uint8_t *data,
                         size_t size);

#endif
