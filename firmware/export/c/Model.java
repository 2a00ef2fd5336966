// The model for Java and Android, by libedgesnn_jni.so.
// SPDX-License-Identifier: Apache-2.0
package edgesnn;

/** A network with its state; for one thread at a time. */
public final class Model implements AutoCloseable {
    static {
        System.loadLibrary("edgesnn_jni");
    }

    private long handle = open();

    public Model() {
        if (handle == 0) {
            throw new IllegalStateException("the model does not load: there is too little memory");
        }
    }

    /** The class by now, after one more frame of a value for each channel. */
    public int step(short[] frame) {
        int label = step(handle, frame);
        if (label < 0) {
            throw new IllegalArgumentException("the model does not take this frame: " + label);
        }
        return label;
    }

    /** CRC-32 of the spikes and scores of the last step. */
    public long digest() {
        return digest(handle);
    }

    /** Back to the first state. */
    public void reset() {
        reset(handle);
    }

    @Override
    public void close() {
        close(handle);
        handle = 0;
    }

    private static native long open();
    private static native int step(long handle, short[] frame);
    private static native long digest(long handle);
    private static native void reset(long handle);
    private static native void close(long handle);
}
