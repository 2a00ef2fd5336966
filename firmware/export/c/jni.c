/* The face of the model for Java: the native methods of Model.java.
 * SPDX-License-Identifier: Apache-2.0 */
#include <jni.h>
#include <stdlib.h>

#include "esnn.h"
#include "model.h"

typedef struct {
    esnn_model model;
    esnn_result result;
    uint32_t arena[MODEL_ARENA_BYTES / 4];
} instance;

JNIEXPORT jlong JNICALL Java_edgesnn_Model_open(JNIEnv *env, jclass type);
JNIEXPORT jint JNICALL Java_edgesnn_Model_step(JNIEnv *env, jclass type, jlong handle,
                                               jshortArray values);
JNIEXPORT jlong JNICALL Java_edgesnn_Model_digest(JNIEnv *env, jclass type, jlong handle);
JNIEXPORT void JNICALL Java_edgesnn_Model_reset(JNIEnv *env, jclass type, jlong handle);
JNIEXPORT void JNICALL Java_edgesnn_Model_close(JNIEnv *env, jclass type, jlong handle);

static instance *of(jlong handle) { return (instance *)(intptr_t)handle; }

JNIEXPORT jlong JNICALL Java_edgesnn_Model_open(JNIEnv *env, jclass type) {
    instance *made = malloc(sizeof *made);
    (void)env;
    (void)type;
    if (made != NULL && esnn_load(&made->model, model_image, MODEL_BYTES, made->arena,
                                  sizeof made->arena) != ESNN_OK) {
        free(made);
        made = NULL;
    }
    return (jlong)(intptr_t)made;
}

JNIEXPORT jint JNICALL Java_edgesnn_Model_step(JNIEnv *env, jclass type, jlong handle,
                                               jshortArray values) {
    jshort frame[MODEL_CHANNELS];
    instance *m = of(handle);
    (void)type;
    if ((*env)->GetArrayLength(env, values) != MODEL_CHANNELS) {
        return ESNN_ERR_INPUT;
    }
    (*env)->GetShortArrayRegion(env, values, 0, MODEL_CHANNELS, frame);
    const esnn_status status = esnn_step(&m->model, frame, &m->result);
    return status != ESNN_OK ? (jint)status : (jint)m->result.label;
}

JNIEXPORT jlong JNICALL Java_edgesnn_Model_digest(JNIEnv *env, jclass type, jlong handle) {
    (void)env;
    (void)type;
    return (jlong)esnn_digest(&of(handle)->model, 0);
}

JNIEXPORT void JNICALL Java_edgesnn_Model_reset(JNIEnv *env, jclass type, jlong handle) {
    (void)env;
    (void)type;
    esnn_reset(&of(handle)->model);
}

JNIEXPORT void JNICALL Java_edgesnn_Model_close(JNIEnv *env, jclass type, jlong handle) {
    (void)env;
    (void)type;
    free(of(handle));
}
