"""Train the network for wrist activities: `python -m edgesnn.zoo.wrist.train`.

What tells activities apart on people whom the network has not met is how often a signal, and how
often its change over 0.05 to 0.5 s, lies beyond a level. So the first layer is neurons without
memory that spike beyond a level each. How often they do in a window enters a small network of
ReLUs, which trains in seconds; its hidden neurons become spiking ones, which add up what enters
them and spike as often as the ReLU is high, and the last layer is fitted to their spikes.

Spiking networks trained end to end by surrogate gradients were 2 points worse on new people.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from edgesnn.zoo import wrist
from edgesnn.zoo.training import Budget, Tensor, fit, nn, recipe, save, torch

Float32Array = NDArray[np.float32]
PART = 500
"""Windows that are looked at together."""


@dataclass(frozen=True)
class Settings:
    """Everything that determines the trained network, apart from the recordings.

    Args:
        split: "random", "all", or the fold of subjects, "0" to "4", that is left out.
        levels: of the signal, then of each change, of a channel.
        starts: first samples of the windows that a recording is cut into to train on.
        current: what the currents of the slow neurons are divided by: higher is fewer spikes.
        beta: what the slow neurons keep of their membrane in a step.
        refitting: iterations of the last layer alone.
    """

    split: str = "all"
    seed: int = 0
    iterations: int = 2000
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.02
    levels: tuple[int, ...] = (20, 10, 10, 10, 10)
    starts: tuple[int, ...] = (0, 13, 27)
    hidden: int = 64
    current: float = 8.0
    beta: float = 0.985
    dropout: float = 0.3
    smoothing: float = 0.1
    refitting: int = 600


class Levels(nn.Module):
    """How often a channel, or how much it changed over a lag, is beyond a level.

    Of the signal itself "beyond" is below a level below 0. Before the start signals are 0.
    """

    def __init__(self, signals: Float32Array, counts: tuple[int, ...]) -> None:
        super().__init__()
        self.size = signals.shape[2] * sum(counts)
        at = np.random.default_rng(0).integers(0, len(signals), 3000)
        for lag, count in zip(wrist.LAGS, counts, strict=True):
            value = _changes(torch.from_numpy(signals[at]), lag)[:, lag:].flatten(0, 1)
            level = np.quantile(value.numpy(), np.linspace(0.01, 0.99, count), axis=0)
            self.register_buffer(f"level_{lag}", torch.from_numpy(level.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, channels) to (batch, steps, size) of 0 and 1."""
        found = []
        for lag in wrist.LAGS:
            value, level = _changes(x, lag)[:, :, None, :], getattr(self, f"level_{lag}")
            found.append(torch.where(level >= 0, value > level, value < level).flatten(2))
        return torch.cat(found, 2).float()

    def synapses(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Neurons that do this: two, of both signs, for a level of a change.

        Returns:
            weights (neurons, channels, 2) of the signal now and a lag ago, delays of the same
            shape, thresholds (neurons,), and which output of `forward` each belongs to.
        """
        weights, delays, thresholds, belongs = [], [], [], []
        first = 0
        for lag in wrist.LAGS:
            level = getattr(self, f"level_{lag}")
            channels, flat = level.shape[1], level.flatten()
            now = torch.eye(channels).repeat(len(level), 1)
            for sign in (1.0, -1.0) if lag else (torch.where(flat >= 0, 1.0, -1.0)[:, None],):
                weights.append(torch.stack([sign * now, -sign * now * (lag > 0)], 2))
                delays.append(torch.stack([torch.zeros_like(now), lag * now], 2))
                thresholds.append(flat.abs())
                belongs.append(first + torch.arange(len(flat)))
            first += len(flat)
        return torch.cat(weights), torch.cat(delays), torch.cat(thresholds), torch.cat(belongs)


def _changes(x: Tensor, lag: int) -> Tensor:
    if not lag:
        return x
    return torch.cat([x[:, :lag], x[:, lag:] - x[:, :-lag]], 1).abs()


class Network(nn.Module):
    """From how often levels are passed to scores, with ReLUs."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, often: Tensor, classes: int, settings: Settings) -> None:
        super().__init__()
        self.register_buffer("mean", often.mean(0))
        # what hardly ever differs would have weights of no bounds
        self.register_buffer("deviation", often.std(0) + 0.02)
        self.hidden = nn.Linear(often.shape[1], settings.hidden)
        nn.init.normal_(self.hidden.weight, 0, 1 / math.sqrt(often.shape[1]))
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(settings.hidden, classes)

    def forward(self, often: Tensor) -> Tensor:
        """Shares of steps (batch, levels) to scores (batch, classes)."""
        current = self.hidden((often - self.mean) / self.deviation)
        scores: Tensor = self.output(self.dropout(torch.relu(current)))
        return scores


@torch.no_grad()
def often(levels: Levels, windows: Float32Array) -> Tensor:
    """Shares of steps (n, levels) in which windows (n, steps, channels) pass each level."""
    parts = np.array_split(windows, max(1, len(windows) // PART))
    return torch.cat([levels(torch.from_numpy(part)).mean(1) for part in parts])


@torch.no_grad()
def rates(network: Network, levels: Levels, windows: Float32Array, settings: Settings) -> Tensor:
    """What spiking neurons in place of the ReLUs say of windows (n, hidden): spikes a step.

    In units of the ReLU's values. A spike takes 1 off one step late, as snnTorch's.
    """
    found = []
    for part in np.array_split(windows, max(1, len(windows) // PART)):
        x = (levels(torch.from_numpy(part)) - network.mean) / network.deviation
        current = network.hidden(x) / settings.current
        v = spikes = count = torch.zeros_like(current[:, 0])
        for now in current.unbind(1):
            v = settings.beta * v + now - spikes
            spikes = (v > 1).float()
            count = count + spikes
        found.append(count * settings.current / windows.shape[1])
    return torch.cat(found)


def checkpoint(network: Network, levels: Levels, settings: Settings) -> dict[str, Tensor]:
    """What `wrist.DESCRIPTION` describes; normalisation is in the weights."""
    weight, delay, threshold, belongs = levels.synapses()
    inner = network.hidden.weight / network.deviation
    bias = network.hidden.bias - inner @ network.mean
    state = {
        "levels.weight": weight.half(), "levels.P": (wrist.MAX_DELAY // 2 - delay)[None].half(),
        "levels.threshold": threshold,
        # far finer than what is left of them in 8 bits
        "hidden.weight": (inner[:, belongs] / settings.current).half(),
        "hidden.bias": bias / settings.current,
        "slow.beta": torch.tensor(settings.beta),
        "output.weight": network.output.weight * settings.current / wrist.STEPS,
        "output.bias": network.output.bias / wrist.STEPS,
    }  # fmt: skip
    return {key: value.detach().clone() for key, value in state.items()}


def training_windows(settings: Settings) -> tuple[Float32Array, NDArray[np.int64]]:
    """Windows (n, STEPS, 6) to train on and their classes (n,)."""
    if settings.split == "random":
        return wrist.random_windows("train")
    subject = wrist.recordings().subject
    held = () if settings.split == "all" else wrist.held_out(int(settings.split))
    cut = [wrist.windows(~np.isin(subject, held), start=start) for start in settings.starts]
    return np.concatenate([c[0] for c in cut]), np.concatenate([c[1] for c in cut])


def train(
    settings: Settings, budget: Budget, state_path: Path | None = None
) -> tuple[Network, Levels, int]:
    """Train, and return the network for spikes, its levels, and the iterations done."""
    windows, label = training_windows(settings)
    levels = Levels(windows, settings.levels)
    given = often(levels, windows)
    torch.manual_seed(settings.seed)
    network = Network(given, len(wrist.CLASSES), settings)
    named, done = _fit(network, given, label, settings, budget, state_path)
    assert isinstance(named, Network)
    spiking = rates(named, levels, windows, settings)
    last = nn.Sequential(nn.Dropout(settings.dropout), named.output)
    brief = Budget(settings.refitting, budget.device, title="last layer")
    fitted, _ = _fit(last, spiking, label, settings, brief, None)
    named.output = fitted[1]
    return named, levels, done


def _fit(
    network: nn.Module,
    given: Tensor,
    label: NDArray[np.int64],
    settings: Settings,
    budget: Budget,
    state_path: Path | None,
) -> tuple[nn.Module, int]:
    network.to(budget.device)
    given, target = given.to(budget.device), torch.from_numpy(label).to(budget.device)

    def loss(done: int, rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(0, len(target), settings.batch)).to(budget.device)
        return nn.functional.cross_entropy(
            network(given[chosen]), target[chosen], label_smoothing=settings.smoothing
        )

    averaged, done = fit(
        network, loss, budget, settings.seed, asdict(settings), settings.learning_rate,
        settings.weight_decay, state_path=state_path,
    )  # fmt: skip
    return averaged.cpu(), done


def _split(_context: click.Context, _option: click.Parameter, split: str) -> str:
    if split not in ("all", "random", *map(str, range(wrist.FOLDS))):
        raise click.BadParameter(f"there is no split '{split}'", param_hint="--split")
    return split


@click.command()
@click.option("--split", default=Settings.split, show_default=True, callback=_split,
              help="all, random, or a fold of subjects to leave out, 0 to 4.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=Settings.seed, show_default=True)
@click.option("--test", is_flag=True, help="Report on what was left out at the end.")
@recipe(Settings.iterations, "wrist.pt")
def main(
    split: str, seed: int, test: bool, budget: Budget, out: Path, state_path: Path
) -> None:  # fmt: skip
    """Train the network for wrist activities."""
    settings = Settings(split=split, seed=seed, iterations=budget.iterations)
    network, levels, done = train(settings, budget, state_path)
    save(checkpoint(network, levels, settings), out)
    click.echo(f"{out}: {done} of {budget.iterations} iterations")
    if test and split != "all":
        signals, label = (
            wrist.random_windows("test") if split == "random"
            else wrist.of_subjects(wrist.held_out(int(split)))
        )  # fmt: skip
        found = network.output(rates(network, levels, signals, settings)).argmax(1)
        click.echo(f"test, as trained: {np.mean(found.numpy() == label):.4f}")


if __name__ == "__main__":
    main()
