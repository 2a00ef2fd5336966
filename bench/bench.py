"""Time the C core of this computer beside snnTorch, in one run, on the same cores.

`make bench` runs the L2MU of its authors on their Braille recordings where it has them, and the
network of the demo where not: step by step, one recording at a time, as a device sees it; and all
recordings at once, snnTorch with the batch that suits it best. The two take turns, and what is
compared is the smaller of two ratios: the median of those of the turns, and that of the fastest
turns, which other programs on the computer disturb least. It writes build/bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import snntorch
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from l2mu import L2MU

from edgesnn import blob, runtime
from edgesnn.converters.torchfile import read_torch
from edgesnn.devices.recordings import basic_motions
from edgesnn.quantize import quantize
from edgesnn.sources import read_network
from edgesnn.zoo.basicmotions import CHECKPOINT

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
BRAILLE_MODEL = "l2mu_braille7/l2mu_braille7_best.ckpt"
BRAILLE_DATA = "braille7/braille7_spikes.npz"
STREAM_MARK, BATCH_MARK = 50, 5
BATCHES = (16, 32, 64, 128, 193, 386, 579, 1158)
CORES, SEARCH_STEPS = 2, 32


@dataclass(frozen=True)
class Task:
    """A network and recordings.

    Args:
        checkpoint: of the network, in the layout of the L2MU's authors.
        signal: (samples, steps, channels), as the network was trained on it.
    """

    name: str
    checkpoint: Path
    signal: npt.NDArray[Any]


def braille() -> Task | None:
    """The authors' L2MU; None, and what is missing on standard error, where it is not here."""
    checkpoint = Path(os.environ.get("EDGESNN_MODELS", SHARED / "models")) / BRAILLE_MODEL
    data = Path(os.environ.get("EDGESNN_DATA", SHARED / "data")) / BRAILLE_DATA
    missing = [str(path) for path in (checkpoint, data) if not path.exists()]
    if missing:
        print(f"the Braille L2MU is left out, missing: {', '.join(missing)}", file=sys.stderr)
        return None
    with np.load(data) as file:
        signal = np.unpackbits(file["spikes_packed"], axis=-1)[..., : int(file["shape"][2])]
    return Task("the authors' L2MU on Braille recordings", checkpoint, signal)


def demo() -> Task:
    """The network of the demo on its test recordings."""
    recordings = basic_motions("test")
    return Task("the demo's L2MU on BasicMotions recordings", CHECKPOINT, recordings.signal)


def seconds(run: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], turns: int) -> dict[str, float]:
    """Medians of both, s, and how many times faster ours is."""
    pairs = []
    for turn in range(turns):
        if turn % 2:
            theirs_s = seconds(theirs)
            pairs.append((seconds(ours), theirs_s))
        else:
            ours_s = seconds(ours)
            pairs.append((ours_s, seconds(theirs)))
    fast, slow = zip(*pairs, strict=True)
    of_turns = statistics.median(b / a for a, b in pairs)
    of_fastest = min(slow) / min(fast)
    return {
        "edgesnn_s": statistics.median(fast),
        "snntorch_s": statistics.median(slow),
        "ratio_of_turns": of_turns,
        "ratio_of_fastest": of_fastest,
        "ratio": min(of_turns, of_fastest),
    }


def snntorch_labels(net: L2MU, signal: torch.Tensor) -> npt.NDArray[np.int64]:
    """Run recordings (batch, steps, channels) at once; their labels."""
    state = net.start(len(signal))
    counts = torch.zeros(len(signal), net.sizes[3])
    for x in signal.unbind(1):
        counts += net(x, state)
    return counts.argmax(1).numpy()


def bench(task: Task, turns: int, streams: int) -> dict[str, Any]:
    """Time a task; JSON-able."""
    state = read_torch(task.checkpoint)
    net = L2MU(state.get("state_dict", state)).eval()
    graph = quantize(read_network(task.checkpoint), task.signal[:40]).graph
    image = blob.pack_image(graph)
    frames = graph.input.quantize(task.signal)
    signal = torch.from_numpy(task.signal.astype(np.float32))
    samples, steps = signal.shape[:2]
    net(signal[:1, 0], net.start(1))

    def batched(size: int, first: int = steps) -> npt.NDArray[np.int64]:
        parts = signal[:, :first].split(size)
        return np.concatenate([snntorch_labels(net, part) for part in parts])

    core = runtime.run(image, frames, threads=CORES, digests=False)
    agreement = float((batched(samples) == core.labels).mean())

    # as a stream: one recording, one frame after the other, on as many threads as suit snnTorch
    stepper = runtime.Stepper(image)

    def ours() -> None:
        for recording in frames[:streams]:
            stepper.reset()
            for frame in recording:
                stepper.step(frame)

    def theirs() -> None:
        for recording in signal[:streams]:
            snntorch_labels(net, recording[None])

    threads = {n: (torch.set_num_threads(n), seconds(theirs))[1] for n in range(1, CORES + 1)}
    torch.set_num_threads(min(threads, key=lambda n: threads[n]))
    stream = compare(ours, theirs, turns)
    for name in ("edgesnn_s", "snntorch_s"):
        stream[f"{name[:-2]}_us_a_step"] = 1e6 * stream.pop(name) / (streams * steps)
    stream["snntorch_threads"] = torch.get_num_threads()

    # all at once: the batch and the threads that suit snnTorch best in the first steps
    sizes = sorted({min(size, samples) for size in BATCHES})
    tried = {(size, n): float("inf") for size in sizes for n in range(1, CORES + 1)}
    for _ in range(3):
        for size, n in tried:
            torch.set_num_threads(n)
            start = time.perf_counter()
            batched(size, SEARCH_STEPS)
            tried[size, n] = min(tried[size, n], time.perf_counter() - start)
    best, n = min(tried, key=lambda pair: tried[pair])
    torch.set_num_threads(n)
    batch = compare(
        lambda: runtime.run(image, frames, threads=CORES, digests=False),
        lambda: batched(best),
        turns,
    )
    batch |= {
        "snntorch_batch": best,
        "snntorch_threads": n,
        "snntorch_search_s": {f"batch {k}, {n} threads": s for (k, n), s in tried.items()},
    }
    return {
        "task": task.name, "samples": samples, "steps": steps, "same_labels": agreement,
        "kernels": runtime.kernels(), "torch": torch.__version__, "snntorch": snntorch.__version__,
        "stream": stream, "batch": batch,
    }  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """What was timed, for people."""
    stream, batch = found["stream"], found["batch"]
    return "\n".join((
        f"{found['task']}: {found['samples']} recordings of {found['steps']} steps, "
        f"same labels {found['same_labels']:.2%}",
        f"edgesnn with {found['kernels']}; snnTorch {found['snntorch']}, torch {found['torch']}",
        f"a step of a stream, µs: edgesnn {stream['edgesnn_us_a_step']:.2f}, snnTorch "
        f"{stream['snntorch_us_a_step']:.1f}: {stream['ratio']:.1f} times, mark {STREAM_MARK}",
        f"all recordings, s: edgesnn {batch['edgesnn_s']:.3f}, snnTorch {batch['snntorch_s']:.3f} "
        f"at batch {batch['snntorch_batch']} on {batch['snntorch_threads']} threads: "
        f"{batch['ratio']:.1f} times, mark {BATCH_MARK}",
    ))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 1 where a mark of the Braille L2MU is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7, help="of each pair")
    parser.add_argument("--streams", type=int, default=8, help="recordings of the stream")
    chosen = parser.parse_args(arguments)
    task = braille()
    with torch.inference_mode():
        found = bench(task or demo(), chosen.turns, chosen.streams)
    out = ROOT / "build" / "bench.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    short = found["stream"]["ratio"] < STREAM_MARK or found["batch"]["ratio"] < BATCH_MARK
    return int(task is not None and short)


if __name__ == "__main__":
    sys.exit(main())
