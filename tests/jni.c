/* A Java machine as far as the model's face for Java needs one: frames of integers on standard
 * input, class and digest of each step on standard output. A frame of no values is refused at each.
 * SPDX-License-Identifier: Apache-2.0 */
#include <jni.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

JNIEXPORT jlong JNICALL Java_edgesnn_Model_open(JNIEnv *env, jclass type);
JNIEXPORT jint JNICALL Java_edgesnn_Model_step(JNIEnv *env, jclass type, jlong handle,
                                               jshortArray values);
JNIEXPORT jlong JNICALL Java_edgesnn_Model_digest(JNIEnv *env, jclass type, jlong handle);
JNIEXPORT void JNICALL Java_edgesnn_Model_reset(JNIEnv *env, jclass type, jlong handle);
JNIEXPORT void JNICALL Java_edgesnn_Model_close(JNIEnv *env, jclass type, jlong handle);

/* what stands for an array of Java, whose type is the machine's own business */
typedef struct {
    jsize length;
    jshort values[MODEL_CHANNELS];
} array;

static jsize length_of(JNIEnv *env, jarray values) {
    (void)env;
    return ((array *)values)->length;
}

static void copy(JNIEnv *env, jshortArray values, jsize start, jsize n, jshort *to) {
    (void)env;
    memcpy(to, ((array *)values)->values + start, (size_t)n * sizeof *to);
}

int main(void) {
    static struct JNINativeInterface functions;
    functions.GetArrayLength = length_of;
    functions.GetShortArrayRegion = copy;
    JNIEnv env = &functions;
    const jlong model = Java_edgesnn_Model_open(&env, NULL);
    array frame = {.length = MODEL_CHANNELS}, empty = {.length = 0};
    if (model == 0) {
        return 1;
    }
    for (int first = 1;; first = 0) {
        for (int k = 0; k < MODEL_CHANNELS; k++) {
            int value;
            if (scanf("%d", &value) != 1) {
                Java_edgesnn_Model_close(&env, NULL, model);
                return 0;
            }
            frame.values[k] = (jshort)value;
        }
        if (first) { /* leaves nothing behind */
            (void)Java_edgesnn_Model_step(&env, NULL, model, (jshortArray)&frame);
            Java_edgesnn_Model_reset(&env, NULL, model);
        }
        if (Java_edgesnn_Model_step(&env, NULL, model, (jshortArray)&empty) >= 0) {
            return 1;
        }
        const jint label = Java_edgesnn_Model_step(&env, NULL, model, (jshortArray)&frame);
        if (label < 0) {
            return 1;
        }
        printf("%s %08lx\n", model_classes[label],
               (unsigned long)Java_edgesnn_Model_digest(&env, NULL, model));
    }
}
