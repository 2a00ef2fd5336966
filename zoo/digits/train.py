"""Train the delay network for spoken digits: `python -m edgesnn.zoo.digits.train`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click
import numpy as np
from numpy.typing import NDArray

from edgesnn.zoo import digits
from edgesnn.zoo.training import BatchNorm, Budget, Leaky, Tensor, fit, nn, recipe, save, torch

Kind = Literal["delays", "none", "random"]


@dataclass(frozen=True)
class Settings:
    """Everything that determines the trained network, apart from the recordings."""

    kind: Kind = "delays"
    seed: int = 0
    iterations: int = 800
    batch: int = 64
    learning_rate: float = 5e-3
    first: int = 64
    second: int = 64
    dropout: float = 0.3


class LearnedDelays(nn.Module):
    """DCLS of one tap a synapse: while training each is spread over time, ever more narrowly.

    `position` is half the longest delay minus the delay, in halves: -1..1 learn as fast as weights.
    """

    def __init__(self, inputs: int, outputs: int, kind: Kind) -> None:
        super().__init__()
        half = digits.LONGEST // 2
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1) / math.sqrt(inputs))
        place = torch.ones(outputs, inputs)
        if kind != "none":
            place = torch.rand_like(place) * 2 - 1
        self.position = nn.Parameter(place, requires_grad=kind == "delays")
        self.width = half / 2 if kind == "delays" else 0.0
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """(steps, batch, inputs) to (steps, batch, outputs)."""
        steps, batch, inputs = x.shape
        longest = digits.LONGEST
        delay = (1 - self.position.clamp(-1, 1)) * (longest // 2)
        every = torch.arange(longest if self.kind != "none" else 1, device=x.device)
        off = every[:, None, None] - (delay if self.width and self.training else delay.round())
        if self.width and self.training:
            kernel = torch.exp(-0.5 * (off / self.width) ** 2)
            kernel = kernel / (kernel.sum(0) + 1e-7)
        else:
            kernel = (off.abs() < 0.5).float()
        kernel = kernel * self.weight[:, :, 0]
        x = torch.cat([x.new_zeros(longest - 1, batch, inputs), x])
        total = x.new_zeros(steps * batch, kernel.shape[1])
        for late, tap in enumerate(kernel):
            part = x[longest - 1 - late : longest - 1 - late + steps].reshape(-1, inputs)
            total = torch.addmm(total, part, tap.T)
        return total.view(steps, batch, -1)


class Network(nn.Module):
    """Filters and levels (fixed) -> neurons -> delayed synapses -> neurons -> scores."""

    thresholds: Tensor

    def __init__(self, loud: NDArray[np.float32], settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        banked = np.abs(_bank(loud)).reshape(-1, digits.BANDS, 2).transpose(0, 2, 1)
        at = np.quantile(banked.reshape(-1, digits.BANDS), (0.5, 0.7, 0.85, 0.95), axis=0)
        # level, sign, band, phase
        shape = (digits.LEVELS, 2, digits.BANDS, 2)
        each = np.broadcast_to(at[:, None, :, None], shape).reshape(-1)
        self.register_buffer("thresholds", torch.from_numpy(each.astype(np.float32)))
        self.first = nn.Linear(each.size, settings.first, bias=False)
        self.first_norm = BatchNorm(settings.first)
        self.first_neurons = Leaky(settings.first, 3.0)
        self.second = LearnedDelays(settings.first, settings.second, settings.kind)
        self.second_norm = BatchNorm(settings.second)
        self.second_neurons = Leaky(settings.second, 10.0)
        self.output = nn.Linear(settings.second, 10)

    def levels(self, frames: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Spikes (n, steps, neurons) of the fixed layers for frames (n, steps, HOP)."""
        value = np.stack([_bank(clip) for clip in frames])[:, :, None, :]
        both = np.concatenate([value, -value], 2).reshape(*value.shape[:2], 1, -1)
        threshold = self.thresholds.numpy().reshape(digits.LEVELS, -1)
        spikes: NDArray[np.bool_] = (both > threshold).reshape(*value.shape[:2], -1)
        return spikes

    def forward(self, spikes: Tensor) -> Tensor:
        """Spikes (steps, batch, neurons) to scores (steps, batch, 10)."""
        x = self.first_neurons(self.first_norm(self.first(spikes)))
        x = nn.functional.dropout(x, self.settings.dropout, self.training)
        x = self.second_neurons(self.second_norm(self.second(x)))
        scores: Tensor = self.output(nn.functional.dropout(x, self.settings.dropout, self.training))
        return scores


def _bank(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of the filters (steps, 2 * BANDS) for the frames (steps, HOP) of a clip."""
    before = np.concatenate([np.zeros_like(frames[:1]), frames[:-1]])
    found: NDArray[np.float32] = np.concatenate([before, frames], 1) @ digits.filters().T
    return found


def checkpoint(network: Network) -> dict[str, Tensor]:
    """What `digits.DESCRIPTION` describes."""
    bank = torch.from_numpy(digits.filters())
    count, values = len(network.thresholds), len(bank)
    neuron = torch.arange(count)
    places = torch.round(network.second.position.clamp(-1, 1) * (digits.LONGEST // 2))
    sign = torch.where((neuron // values) % 2 == 0, 1.0, -1.0)
    levels = torch.zeros(count, values, 1)
    levels[neuron, neuron % values, 0] = sign
    state = {
        "filters.weight": torch.stack([bank[:, digits.HOP :], bank[:, : digits.HOP]], 2).half(),
        # 1 - P is the delay: the frame before is one step late
        "filters.P": torch.tensor([1.0, 0.0]).expand(1, values, digits.HOP, 2).half(),
        "levels.weight": levels.half(), "levels.P": torch.zeros(1, count, values, 1).half(),
        "levels.threshold": network.thresholds,
        "first.weight": network.first.weight.half(),
        "second.weight": network.second.weight.half(),
        "second.P": places[None, :, :, None].half(),
        "output.weight": network.output.weight, "output.bias": network.output.bias,
    }  # fmt: skip
    for name in ("first", "second"):
        norm, neurons = getattr(network, f"{name}_norm"), getattr(network, f"{name}_neurons")
        for key in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}_norm.{key}"] = getattr(norm, key)
        state[f"{name}_neurons.beta"] = torch.sigmoid(neurons.decay)
    return {key: value.detach().clone() for key, value in state.items()}


def varied(spikes: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift clips (steps, batch, neurons) in time and blank a stretch of time and some bands."""
    steps, batch = spikes.shape[:2]
    made = torch.zeros_like(spikes)
    for k in range(batch):
        late = int(rng.integers(-3, 9))
        if late >= 0:
            made[late:, k] = spikes[: steps - late, k]
        else:
            made[:late, k] = spikes[-late:, k]
        start = int(rng.integers(0, 40))
        made[start : start + int(rng.integers(0, 6)), k] = 0
        first, wide = int(rng.integers(0, digits.BANDS)), int(rng.integers(0, 6))
        made[:, k].view(steps, -1, digits.BANDS, 2)[:, :, first : first + wide] = 0
    return made


def train(
    settings: Settings, budget: Budget, state_path: Path | None = None
) -> tuple[Network, int]:
    """Train on the training part, and return the network and the iterations done."""
    torch.manual_seed(settings.seed)
    frames, label = digits.frames("train")
    loud = frames.reshape(-1, digits.HOP)
    loud = loud[np.abs(loud).max(1) > 50][:40_000]
    network = Network(loud, settings)
    spikes, target = torch.from_numpy(network.levels(frames)), torch.from_numpy(label)
    network.to(budget.device)

    def loss(done: int, rng: np.random.Generator) -> Tensor:
        if settings.kind == "delays":
            # to a width of half a step in the first two thirds
            part = min(1.0, 1.5 * done / settings.iterations)
            start = digits.LONGEST / 4
            network.second.width = start * (0.5 / start) ** part
        chosen = torch.from_numpy(rng.integers(0, len(target), settings.batch))
        x = varied(spikes[chosen].transpose(0, 1).float(), rng)
        scores = network(x.to(budget.device)).mean(0)
        goal = target[chosen].to(budget.device)
        return nn.functional.cross_entropy(4 * scores, goal, label_smoothing=0.1)

    averaged, done = fit(
        network, loss, budget, settings.seed, asdict(settings), settings.learning_rate,
        average=0.98, state_path=state_path,
    )  # fmt: skip
    assert isinstance(averaged, Network)
    return averaged, done


@torch.no_grad()
def accuracy(network: Network, part: str) -> float:
    """Share of clips whose digit has the highest sum of scores."""
    frames, label = digits.frames(part)
    spikes = torch.from_numpy(network.levels(frames)).transpose(0, 1).float()
    found = torch.cat([network(b).sum(0).argmax(1) for b in spikes.split(200, 1)])
    return float((found.numpy() == label).mean())


@click.command()
@click.option("--kind", type=click.Choice(["delays", "none", "random"]), default=Settings.kind,
              show_default=True)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=Settings.seed, show_default=True)
@recipe(Settings.iterations, "digits.pt")
def main(kind: Kind, seed: int, budget: Budget, out: Path, state_path: Path) -> None:
    """Train the delay network for spoken digits."""
    settings = Settings(kind, seed, budget.iterations)
    network, done = train(settings, budget, state_path)
    save(checkpoint(network), out)
    found = accuracy(network.cpu(), "validation")
    click.echo(f"{out}: {done} of {budget.iterations} iterations, validation {found:.4f}")


if __name__ == "__main__":
    main()
