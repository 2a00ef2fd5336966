"""Train the encoding-free L2MU network of BasicMotions: `python -m edgesnn.zoo.basicmotions.train`.

Raw accelerometer and gyroscope samples enter as currents of a spiking layer, its spikes enter
an L2MU cell, and the class is the output neuron with most spikes over the recording.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import click
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edgesnn.devices.recordings import Recordings, basic_motions
from edgesnn.errors import EdgesnnError, MissingError

try:
    import snntorch
    import torch
    from torch import Tensor, nn

    from edgesnn.zoo.training import STATE_FORMAT, load_state, pick_device, save
except ImportError as error:
    raise MissingError(
        f"{error}, which training needs: run 'pip install torch snntorch'"
    ) from error

Variant = Literal["lif", "cuba"]
Report = Callable[[int, float, float], None]

_POPULATIONS = ("encoder", "u", "m", "h", "output")
_MIN_RATE, _MAX_RATE = 0.03, 0.08


@dataclass(frozen=True)
class Settings:
    """Everything that determines the trained network, apart from the recordings."""

    variant: Variant = "lif"
    seed: int = 0
    iterations: int = 300
    batch: int = 64
    learning_rate: float = 3e-3
    rate_penalty: float = 2.0
    encoder_size: int = 32
    memory_size: int = 16
    order: int = 6
    theta: float = 10.0
    hidden_size: int = 32


@dataclass(frozen=True)
class Score:
    """How well a network classifies some recordings.

    margin: output spikes of the right class minus those of the best other one, (samples,).
    rates: mean spikes per neuron and step of each population.
    """

    accuracy: float
    margin: NDArray[np.float32]
    rates: dict[str, float]

    def __str__(self) -> str:
        rates = ", ".join(f"{name} {rate:.3f}" for name, rate in self.rates.items())
        return (
            f"accuracy {self.accuracy:.3f}, margin in spikes min {self.margin.min():.0f}"
            f" median {np.median(self.margin):.0f}, rates per step: {rates}"
        )


class SpikingLinear(nn.Module):
    """Linear layer with bias followed by a spiking population."""

    def __init__(self, inputs: int, outputs: int, spk: nn.Module) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.spk = spk


class L2MUCell(nn.Module):
    """Legendre memory of spiking neurons: populations u, m, h and output."""

    A: nn.Linear
    B: nn.Linear

    def __init__(self, inputs: int, outputs: int, settings: Settings) -> None:
        super().__init__()
        memory, order, hidden = settings.memory_size, settings.order, settings.hidden_size
        self.shape = (memory, order)
        self.e_x = nn.Linear(inputs, memory, bias=False)
        self.e_h = nn.Linear(hidden, memory, bias=False)
        self.e_m = nn.Linear(memory * order, memory, bias=False)
        self.A = nn.Linear(order, order, bias=False)
        self.B = nn.Linear(1, order, bias=False)
        self.W_x = nn.Linear(inputs, hidden, bias=False)
        self.W_h = nn.Linear(hidden, hidden, bias=False)
        self.W_m = nn.Linear(memory * order, hidden, bias=False)
        self.output_transformation = nn.Linear(hidden, outputs)
        self.spk_u = _population(settings.variant, beta=0.8, threshold=0.3)
        self.spk_m = _population(settings.variant, beta=0.3, threshold=0.3)
        self.spk_h = _population(settings.variant, beta=0.5, threshold=0.5)
        self.spk_output = _population(settings.variant, beta=0.7, threshold=0.5)

        nn.init.zeros_(self.e_m.weight)
        # torch computes x @ W.T, so A.weight = Ad gives m_t = Ad m_{t-1} + Bd u_t, the LMU. The
        # authors' code ships the transpose; the converter takes whatever the checkpoint holds.
        a, b = lmu_matrices(order, settings.theta)
        self.A.weight = nn.Parameter(a, requires_grad=False)
        self.B.weight = nn.Parameter(b, requires_grad=False)

    def forward(self, spikes: list[Tensor]) -> dict[str, list[Tensor]]:
        """Map input spikes, one (batch, inputs) per step, to the spikes of each population."""
        batch = spikes[0].shape[0]
        m = spikes[0].new_zeros(batch, self.shape[0] * self.shape[1])
        h = spikes[0].new_zeros(batch, self.W_h.in_features)
        trace: dict[str, list[Tensor]] = {name: [] for name in _POPULATIONS[1:]}
        for x in spikes:
            u = self.spk_u(self.e_x(x) + self.e_h(h) + self.e_m(m))
            current = self.A(m.view(batch, *self.shape)) + self.B(u.unsqueeze(-1))
            m = self.spk_m(current.view(batch, -1))
            h = self.spk_h(self.W_x(x) + self.W_h(h) + self.W_m(m))
            output = self.spk_output(self.output_transformation(h))
            for name, value in zip(_POPULATIONS[1:], (u, m, h, output), strict=True):
                trace[name].append(value)
        return trace


class Network(nn.Module):
    """Raw samples -> spiking encoder -> L2MU cell."""

    def __init__(self, channels: int, outputs: int, settings: Settings) -> None:
        super().__init__()
        spk = _population(settings.variant, beta=0.5, threshold=1.0)
        self.encoder = nn.ModuleList([SpikingLinear(channels, settings.encoder_size, spk)])
        self.l2mu_cell = L2MUCell(settings.encoder_size, outputs, settings)

    def forward(self, signal: Tensor) -> dict[str, Tensor]:
        """Map a signal (batch, steps, channels) to the spikes (batch, steps, neurons) of each
        population; every call starts from zero states."""
        for module in self.modules():
            if isinstance(module, snntorch.SpikingNeuron):
                module.reset_mem()
        encoder = cast(SpikingLinear, self.encoder[0])
        spikes = [encoder.spk(current) for current in encoder.linear(signal).unbind(1)]
        trace = {"encoder": spikes, **self.l2mu_cell(spikes)}
        return {name: torch.stack(steps, 1) for name, steps in trace.items()}


def lmu_matrices(order: int, theta: float) -> tuple[Tensor, Tensor]:
    """Zero-order-hold LMU matrices for a step of 1: Ad (order, order) and Bd (order, 1), float32.

    theta is the length of the remembered window in steps.
    """
    i = torch.arange(order, dtype=torch.float64)
    gain = (2 * i + 1).unsqueeze(1) / theta
    sign = torch.where(i[:, None] < i, -1.0, (-1.0) ** (i[:, None] - i + 1))
    block = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    block[:order, :order] = gain * sign
    block[:order, order:] = gain * ((-1.0) ** i).unsqueeze(1)
    step = torch.linalg.matrix_exp(block).float()
    return step[:order, :order].clone(), step[:order, order:].clone()


def augment(
    signal: NDArray[np.float64], steps: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Vary recordings (samples, steps, 6) as other wearers and watch positions would.

    Returns windows (samples, `steps`, 6) with random start, tempo, orientation, strength and
    noise. `steps` is at most 0.8 of the length of the recordings: the fastest tempo is 1.2.
    """
    count, length, _ = signal.shape
    tempo = rng.uniform(0.8, 1.2, (count, 1))
    start = rng.uniform(0, 1, (count, 1)) * (length - 1 - tempo * (steps - 1))
    at = start + tempo * np.arange(steps)
    left = np.minimum(at.astype(np.int64), length - 2)
    part = (at - left)[..., None]
    rows = np.arange(count)[:, None]
    window = (1 - part) * signal[rows, left] + part * signal[rows, left + 1]

    axis = rng.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = rng.normal(0, np.radians(20), (count, 1, 1))
    x, y, z = axis.T
    zero = np.zeros(count)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(count, 3, 3)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    window = np.concatenate([window[..., :3] @ turn, window[..., 3:] @ turn], 2)

    window = window * np.exp(rng.normal(0, 0.25, (count, 1, 1)) + rng.normal(0, 0.1, (count, 1, 6)))
    noise = np.array([0.1, 0.1, 0.1, 0.05, 0.05, 0.05])
    return cast(NDArray[np.float64], window + rng.normal(size=window.shape) * noise)


def train(
    recordings: Recordings,
    settings: Settings,
    device: torch.device,
    state_path: Path | None = None,
    deadline: float = math.inf,
    report: Report | None = None,
) -> tuple[Network, int]:
    """Train on all the given recordings and return the network and the iterations done.

    The network takes the physical units of `recordings`. Training ends early at `deadline`
    (seconds of time.monotonic). With `state_path` it continues from that file if it exists, and
    leaves its state there when it ends early; FormatError when the file is of another run.
    """
    torch.manual_seed(settings.seed)
    scale = recordings.signal.std((0, 1))
    network = Network(scale.size, len(recordings.classes), settings).to(device)
    optimiser = torch.optim.Adam(p for p in network.parameters() if p.requires_grad)
    done = 0
    if state_path and state_path.exists():
        state = load_state(state_path, asdict(settings))
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["done"])

    members = [np.flatnonzero(recordings.label == k) for k in range(len(recordings.classes))]
    steps = round(0.7 * recordings.signal.shape[1])
    while done < settings.iterations and time.monotonic() < deadline:
        # A generator per iteration makes a resumed run equal to an uninterrupted one.
        rng = np.random.default_rng((settings.seed, done))
        chosen = np.concatenate([rng.choice(m, settings.batch // len(members)) for m in members])
        signal = augment(recordings.signal[chosen], steps, rng) / scale
        target = torch.from_numpy(recordings.label[chosen]).to(device)
        phase = math.pi * done / settings.iterations
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (0.02 + 0.49 * (1 + math.cos(phase)))

        spikes = network(torch.from_numpy(signal).float().to(device))
        rates = spikes["output"].mean(1)
        activity = torch.stack([spikes[name].mean() for name in _POPULATIONS[:-1]])
        loss = nn.functional.cross_entropy(5 * rates, target)
        # A silent population is a dead one, so rates are pulled into a band and not to zero.
        excess = (activity - _MAX_RATE).relu() + (_MIN_RATE - activity).relu()
        loss = loss + settings.rate_penalty * excess.sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        done += 1
        if report:
            report(done, loss.item(), (rates.argmax(1) == target).float().mean().item())

    if state_path and done < settings.iterations:
        save(
            {
                "format": STATE_FORMAT,
                "settings": asdict(settings),
                "done": done,
                "network": network.state_dict(),
                "optimiser": optimiser.state_dict(),
            },
            state_path,
        )
    # The device has no normalisation step, so the first layer takes it over.
    first = cast(SpikingLinear, network.encoder[0]).linear
    with torch.no_grad():
        first.weight /= torch.from_numpy(scale).to(first.weight)
    return network, done


@torch.no_grad()
def spike_counts(network: Network, signal: NDArray[np.float64]) -> dict[str, Tensor]:
    """Spikes per neuron over each recording, (samples, neurons) for each population.

    signal: (samples, steps, channels) in physical units.
    """
    device = next(network.parameters()).device
    trace = network(torch.from_numpy(signal).float().to(device))
    return {name: spikes.sum(1).cpu() for name, spikes in trace.items()}


def score(network: Network, data: Recordings) -> Score:
    """Classify every recording by its highest output spike count."""
    counts = spike_counts(network, data.signal)
    output = counts["output"].numpy()
    own = output[np.arange(data.label.size), data.label]
    others = output.copy()
    others[np.arange(data.label.size), data.label] = -1
    return Score(
        accuracy=float((output.argmax(1) == data.label).mean()),
        margin=own - others.max(1),
        rates={name: float(c.mean()) / data.signal.shape[1] for name, c in counts.items()},
    )


def round_weights(network: Network, bits: int = 8) -> None:
    """Round each weight row of `network`, in place, to signed integers times one float scale."""
    top = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                scale = module.weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / top
                module.weight.copy_((module.weight / scale).round() * scale)


def fold_masks(label: NDArray[np.int64], folds: int) -> list[NDArray[np.bool_]]:
    """Held-out samples of each stratified fold, as masks (samples,).

    A fold holds neighbouring recordings of each class, which may share a wearer, so that look-alike
    recordings do not end up on both sides.
    """
    masks = np.zeros((folds, label.size), dtype=np.bool_)
    for k in np.unique(label):
        for fold, part in enumerate(np.array_split(np.flatnonzero(label == k), folds)):
            masks[fold, part] = True
    return list(masks)


def checkpoint(network: Network, settings: Settings, done: int, data: Recordings) -> dict[str, Any]:
    """Plain dictionary for torch.save that loads with weights_only=True."""
    return {
        "state_dict": {name: value.cpu() for name, value in network.state_dict().items()},
        "hyper_parameters": {"params": {**asdict(settings), "iterations_done": done}},
        "classes": list(data.classes),
        "rate_hz": data.rate_hz,
        "units": list(data.units),
        "snntorch_version": str(snntorch.__version__),
        "torch_version": str(torch.__version__),
    }


def _population(variant: Variant, beta: float, threshold: float) -> nn.Module:
    options: dict[str, Any] = {
        "beta": beta,
        "threshold": threshold,
        "learn_beta": True,
        "learn_threshold": True,
        "reset_mechanism": "subtract",
        "spike_grad": snntorch.surrogate.fast_sigmoid(slope=15),
        "init_hidden": True,
    }
    if variant == "cuba":
        return cast(nn.Module, snntorch.Synaptic(alpha=0.3, learn_alpha=True, **options))
    return cast(nn.Module, snntorch.Leaky(**options))


def _subset(data: Recordings, mask: NDArray[np.bool_]) -> Recordings:
    return replace(data, signal=data.signal[mask], label=data.label[mask])


def _run(
    settings: Settings,
    data: Recordings,
    device: torch.device,
    title: str,
    state_path: Path | None = None,
    deadline: float = math.inf,
) -> tuple[Network, int]:
    columns = (
        TextColumn(title),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[status]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task("", total=settings.iterations, status="")

        def report(done: int, loss: float, share: float) -> None:
            progress.update(task, completed=done, status=f"loss {loss:.3f} accuracy {share:.2f}")

        return train(data, settings, device, state_path, deadline, report)


@click.command()
@click.option("--seed", type=click.IntRange(0), default=Settings.seed, show_default=True)
@click.option(
    "--variant",
    type=click.Choice(["lif", "cuba"]),
    default=Settings.variant,
    show_default=True,
    help="snntorch.Leaky or snntorch.Synaptic in every population.",
)
@click.option(
    "--iterations", type=click.IntRange(1), default=Settings.iterations, show_default=True
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop after this time.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("l2mu.ckpt"),
    show_default=True,
)
@click.option("--resume", is_flag=True, help="Continue the run that --minutes ended.")
@click.option("--folds", type=click.IntRange(2, 10), help="Cross-validate only; saves nothing.")
@click.option("--test", is_flag=True, help="Report on the test recordings at the end.")
def main(
    seed: int,
    variant: Variant,
    iterations: int,
    device: str,
    minutes: float | None,
    out: Path,
    resume: bool,
    folds: int | None,
    test: bool,
) -> None:
    """Train the L2MU network of BasicMotions on all 40 training recordings."""
    settings = Settings(variant=variant, seed=seed, iterations=iterations)
    deadline = time.monotonic() + 60 * minutes if minutes else math.inf
    try:
        where = pick_device(device)
        if where.type == "cpu":
            torch.use_deterministic_algorithms(True)
        data = basic_motions("train")
        if folds:
            _cross_validate(settings, data, where, folds)
            return
        if not out.parent.is_dir():
            raise MissingError(f"the folder of --out, {out.parent}, does not exist; create it")
        state_path = out.with_name(out.name + ".state")
        if not resume:
            state_path.unlink(missing_ok=True)
        elif not state_path.exists():
            raise MissingError(f"{state_path} does not exist; run without --resume")
        network, done = _run(settings, data, where, "training", state_path, deadline)
        save(checkpoint(network, settings, done, data), out)
        click.echo(f"{out}: {done} of {settings.iterations} iterations")
        click.echo(f"train: {score(network, data)}")
        if done < settings.iterations:
            click.echo("the time is over; the same command with --resume continues")
        else:
            state_path.unlink(missing_ok=True)
        if test:
            click.echo(f"test: {score(network, basic_motions('test'))}")
    except EdgesnnError as error:
        raise click.ClickException(str(error)) from error


def _cross_validate(settings: Settings, data: Recordings, device: torch.device, folds: int) -> None:
    exact, rounded = [], []
    for number, held_out in enumerate(fold_masks(data.label, folds), start=1):
        network, _ = _run(settings, _subset(data, ~held_out), device, f"fold {number}")
        exact.append(score(network, _subset(data, held_out)))
        round_weights(network)
        rounded.append(score(network, _subset(data, held_out)))
        click.echo(f"fold {number}: {exact[-1]}\n  8-bit weights: {rounded[-1]}")
    click.echo(
        f"mean accuracy of {folds} folds: {np.mean([s.accuracy for s in exact]):.3f},"
        f" with 8-bit weights {np.mean([s.accuracy for s in rounded]):.3f}"
    )


if __name__ == "__main__":
    main()
