"""The C core on the host, through cffi: recordings in, `Outputs` out, many samples a call."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import blob
from edgesnn.errors import FormatError, ModelError
from edgesnn.graph import Int16Array
from edgesnn.reference import Outputs, Progress

try:
    from edgesnn import _core
except ImportError as error:
    raise ModelError(
        f"the C core is not built for this Python ({error}): install edgesnn again, with a C "
        "compiler"
    ) from None

STATUS = {
    -1: "an argument is missing",
    -2: "the image does not start at a multiple of 4",
    -3: "it is not an image",
    -4: "it is an image of another format version",
    -5: "it is cut short",
    -6: "it is damaged (CRC-32 does not match)",
    -7: "a record breaks a rule of the format",
    -8: "a value could leave the range that the format promises",
    -9: "it needs a larger arena",
    -10: "the frame is not what the input takes, or a value is wider",
    -11: "its self-test gave other bits",
    -12: "it needs an operation that this build leaves out (`edgesnn operations` lists a model's)",
}


def status_text(status: int) -> str:
    """An `esnn_status` in words."""
    return STATUS.get(status, f"status {status}")


PORTABLE = "portable C"


def kernels() -> str:
    """Which kernels the core of this computer runs; `PORTABLE`: none that are made for it."""
    name: str = _core.ffi.string(_core.lib.esnn_kernel_name()).decode()
    return name


def check(image: bytes) -> dict[str, int]:
    """What the core says of an image: the fields of `esnn_info`.

    Raises:
        FormatError: the core refuses it; the message says why.
    """
    info = _core.ffi.new("esnn_info *")
    status = _core.lib.esnn_check(_aligned(image), len(image), info)
    if status != 0:
        raise FormatError(f"the core refuses the image: {status_text(status)}; convert it again")
    return {name: int(getattr(info, name)) for name, _ in _core.ffi.typeof(info[0]).fields}


class Stepper:
    """A model on the C core that takes one frame after the other, as a device does.

    Args:
        image: an image (`edgesnn.blob`).

    Raises:
        FormatError: the core refuses the image.
    """

    def __init__(self, image: bytes) -> None:
        self._info = info = check(image)
        self._image = _aligned(image)
        self._arena = _core.ffi.new("uint32_t[]", info["arena_bytes"] // 4)
        self._model = _core.ffi.new("esnn_model *")
        self._result = _core.ffi.new("esnn_result *")
        self._frame = _core.ffi.new("int16_t[]", info["input_size"])
        self._values = np.frombuffer(_core.ffi.buffer(self._frame), np.int16)
        status = _core.lib.esnn_load(
            self._model, self._image, len(image), self._arena, info["arena_bytes"]
        )
        if status != 0:
            raise FormatError(f"the core refuses the image: {status_text(status)}")

    def proofs(self) -> list[tuple[bool, bool]]:
        """What the loader proved of the input and each population, in order.

        (its input current may pass 30 bits, its membranes stay below 2^30)
        """
        lib = _core.lib
        slots = _core.ffi.cast("esnn_slot *", self._model.arena)
        flags = [slots[k].flags for k in range(self._info["n_populations"])]
        return [(bool(f & lib.ESNN_SATURATES), bool(f & lib.ESNN_FREE)) for f in flags]

    def step(self, frame: Int16Array) -> int:
        """Run a frame (input size,); the class that the answer is by now.

        Raises:
            ModelError: the frame is not what the input takes.
        """
        self._values[:] = frame
        status = _core.lib.esnn_step(self._model, self._frame, self._result)
        if status != 0:
            raise ModelError(f"the core stopped: {status_text(status)}")
        return int(self._result.label)

    def reset(self) -> None:
        """Back to the state before the first frame."""
        _core.lib.esnn_reset(self._model)


def run(
    image: bytes,
    frames: Int16Array,
    progress: Progress = lambda steps: None,
    *,
    threads: int = 0,
    digests: bool = True,
) -> Outputs:
    """Run recordings (samples, steps, input size) int16 on the C core, each from a reset.

    Args:
        image: an image (`edgesnn.blob`).
        frames: what the input takes, quantised.
        progress: called with the number of frames done since its last call.
        threads: samples are shared among so many threads; 0 takes every core.
        digests: also compute `Outputs.digests` (else all 0), which costs more than a small network.

    Raises:
        FormatError: the core refuses the image.
        ModelError: the frames have another number of channels.
    """
    return _run(image, frames, progress, threads, digests)


def raster(image: bytes, frames: Int16Array) -> npt.NDArray[np.uint8]:
    """Where neurons emitted: (samples, steps, neurons) uint8, populations side by side.

    Raises: as `run`.
    """
    neurons = sum(p.size for p in blob.unpack(image).graph.populations)
    spikes = np.zeros((*frames.shape[:2], neurons), np.uint8)
    _run(image, frames, raster=spikes)
    return spikes


def leads(image: bytes, frames: Int16Array) -> tuple[Outputs, npt.NDArray[np.uint32]]:
    """Outputs, and how far the highest score was above every other: (samples, steps) uint32.

    Raises: as `run`.
    """
    found = np.zeros(frames.shape[:2], np.uint32)
    return _run(image, frames, leads=found), found


def _run(
    image: bytes,
    frames: Int16Array,
    progress: Progress = lambda steps: None,
    threads: int = 0,
    digests: bool = False,
    *,
    raster: npt.NDArray[np.uint8] | None = None,
    leads: npt.NDArray[np.uint32] | None = None,
) -> Outputs:
    info = check(image)
    if frames.ndim != 3 or frames.shape[2] != info["input_size"]:
        raise ModelError(
            f"the frames have shape {frames.shape}, the model takes "
            f"(samples, steps, {info['input_size']})"
        )
    frames = np.ascontiguousarray(frames, np.int16)
    samples, steps = frames.shape[:2]
    step_labels = np.zeros((samples, steps), np.uint16)
    result = Outputs(
        labels=np.zeros(samples, np.int64),
        scores=np.zeros((samples, info["n_scores"]), np.int32),
        step_labels=np.zeros((samples, steps), np.int64),
        synops=np.zeros(samples, np.int64),
        macs=np.zeros(samples, np.int64),
        spikes=np.zeros(samples, np.int64),
        digests=np.zeros((samples, steps), np.uint32),
        decided=np.zeros(samples, np.int64),
    )
    words = _aligned(image)

    def part(first: int, last: int) -> None:
        here = slice(first, last)
        out = _core.ffi.new("esnn_batch_out *")
        out.scores = _pointer("int32_t *", result.scores[here])
        out.step_labels = _pointer("uint16_t *", step_labels[here])
        out.synops = _pointer("uint64_t *", result.synops[here])
        out.macs = _pointer("uint64_t *", result.macs[here])
        out.spikes = _pointer("uint64_t *", result.spikes[here])
        out.decided = _pointer("uint64_t *", result.decided[here])
        if leads is not None:
            out.leads = _pointer("uint32_t *", leads[here])
        if digests:
            out.digests = _pointer("uint32_t *", result.digests[here])
        if raster is not None:
            out.raster = _pointer("uint8_t *", raster[here])
            out.raster_width = raster.shape[2]
        arena = _core.ffi.new("uint32_t[]", info["arena_bytes"] // 4)
        status = _core.lib.esnn_batch(
            words, len(image), arena, info["arena_bytes"],
            _pointer("int16_t *", frames[here]), last - first, steps, out,
        )  # fmt: skip
        if status != 0:
            raise ModelError(f"the core stopped: {status_text(status)}")
        progress((last - first) * steps)

    # small parts keep the progress bar moving; a part is still far longer than its call
    size = max(1, min(64, samples // (4 * (threads or os.cpu_count() or 1))))
    bounds = [(k, min(k + size, samples)) for k in range(0, samples, size)]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for future in [pool.submit(part, *bound) for bound in bounds]:
            future.result()
    result.step_labels[:] = step_labels
    if steps:
        result.labels[:] = step_labels[:, -1]
    return result


def _pointer(ctype: str, array: npt.NDArray[Any]) -> Any:
    return _core.ffi.cast(ctype, array.ctypes.data)


def _aligned(image: bytes) -> Any:
    """The image at an address that is a multiple of 4, as a cdata that owns its bytes."""
    words = _core.ffi.new("uint32_t[]", (len(image) + 3) // 4)
    _core.ffi.memmove(words, image, len(image))
    return words
