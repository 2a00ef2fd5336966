"""Train the network of one time step for MNIST: `python -m edgesnn.zoo.mnist.train`."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from edgesnn.zoo import data
from edgesnn.zoo.mnist import CHANNELS
from edgesnn.zoo.training import Budget, Tensor, fit, nn, recipe, save, torch

VALIDATION = 5000


@dataclass(frozen=True)
class Settings:
    """Everything that determines the trained network, apart from the pictures."""

    steps: int = 1
    ternary: bool = False
    seed: int = 0
    iterations: int = 3000
    batch: int = 128
    learning_rate: float = 3e-3


class _Spike(torch.autograd.Function):
    """1 above the threshold of 1; backward a triangle of width 2 around it."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v > 1).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (v,) = ctx.saved_tensors
        return gradient * (1 - (v - 1).abs()).clamp(min=0)


def ternary(weight: Tensor) -> Tensor:
    """-a, 0 or a, a for each output channel; gradients pass through as if it were the identity."""
    rows = weight.detach().flatten(1)
    cut = 0.7 * rows.abs().mean(1, keepdim=True)
    kept = rows.abs() > cut
    size = (rows.abs() * kept).sum(1, keepdim=True) / kept.sum(1, keepdim=True).clamp(min=1)
    made = (torch.sign(rows) * kept * size).view_as(weight)
    return weight + (made - weight).detach()


class Network(nn.Module):
    """Convolutions of stride 2 with batch norm and neurons, then one layer of weights.

    With several steps the picture is shown in each; neurons keep `leak` of their membrane and lose
    1 by a spike, and what the last layer gives is added up.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        widths = (1, *CHANNELS)
        self.features = nn.ModuleList()
        for k, (before, after) in enumerate(itertools.pairwise(widths)):
            size = 5 if k == 0 else 3
            self.features.append(nn.Conv2d(before, after, size, 2, size // 2, bias=False))
            self.features.append(nn.BatchNorm2d(after))
        self.classifier = nn.ModuleList([nn.Linear(16 * CHANNELS[-1], 10)])
        self.leak = nn.Parameter(torch.full((len(CHANNELS),), 0.5))

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, 1, 28, 28), 0..1, to scores (batch, 10)."""
        weights = [layer.weight for layer in self.features[::2]]
        last = self.classifier[0]
        if self.settings.ternary:
            weights = [ternary(w) for w in weights]
        v: list[Any] = [0.0] * len(CHANNELS)
        s: list[Any] = [0.0] * len(CHANNELS)
        scores: Any = 0.0
        for _ in range(self.settings.steps):
            x = pixels
            for k, weight in enumerate(weights):
                conv, norm = self.features[2 * k], self.features[2 * k + 1]
                current = norm(nn.functional.conv2d(x, weight, None, conv.stride, conv.padding))
                v[k] = self.leak[k].clamp(0, 1) * (v[k] - s[k]) + current
                x = s[k] = _Spike.apply(v[k])
            x = nn.functional.dropout(x.flatten(1), 0.2, self.training)
            scores = scores + last(x)
        return scores / self.settings.steps


def augmented(pixels: Tensor) -> Tensor:
    """Turn, scale, shear and shift pictures (batch, 1, 28, 28) a little."""
    n = len(pixels)
    angle = torch.randn(n) * 0.12
    size = torch.exp(torch.randn(n, 2) * 0.06)
    cos, sin = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([cos * size[:, 0], -sin + torch.randn(n) * 0.08, sin, cos * size[:, 1]], 1)
    shift = (torch.rand(n, 2, 1) - 0.5) * (4 / 14)
    grid = nn.functional.affine_grid(
        torch.cat([turn.view(n, 2, 2), shift], 2), list(pixels.shape), align_corners=False
    )
    return nn.functional.grid_sample(pixels, grid, align_corners=False)


def checkpoint(network: Network) -> dict[str, Tensor]:
    """What `converters/onestep.py` reads; pixels 0..255 enter."""
    state = {}
    for k in range(len(CHANNELS)):
        weight = network.features[2 * k].weight.detach()
        weight = ternary(weight).detach() if network.settings.ternary else weight
        state[f"features.{2 * k}.weight"] = weight / 255 if k == 0 else weight
        norm = network.features[2 * k + 1]
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"features.{2 * k + 1}.{name}"] = getattr(norm, name).detach()
        state[f"threshold.t{k}"] = torch.ones(1)
        state[f"leak.l{k}"] = network.leak[k].detach().clamp(0, 1).reshape(1)
    last = network.classifier[0]
    state["classifier.0.weight"], state["classifier.0.bias"] = (
        last.weight.detach(),
        last.bias.detach(),
    )
    return {key: value.half().clone() for key, value in state.items()}


@torch.no_grad()
def accuracy(network: Network, images: data.Images) -> float:
    """Share of pictures whose label has the highest score."""
    pixels = torch.from_numpy(images.pixels.copy()).float()[:, None] / 255
    found = torch.cat([network(part).argmax(1) for part in pixels.split(500)])
    return float((found.numpy() == images.label).mean())


def train(
    settings: Settings, budget: Budget, start: Path | None = None, state_path: Path | None = None
) -> tuple[Network, int]:
    """Train on all but the last 5,000 pictures of the training part, which choose the settings."""
    images = data.mnist("train")
    torch.manual_seed(settings.seed)
    network = Network(settings)
    if start:
        network.load_state_dict(torch.load(start, weights_only=True))
    pixels = torch.from_numpy(images.pixels[:-VALIDATION].copy()).float()[:, None] / 255
    label = torch.from_numpy(images.label[:-VALIDATION])

    def loss(done: int, rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(0, len(label), settings.batch))
        scores = network(augmented(pixels[chosen]).to(budget.device))
        return nn.functional.cross_entropy(scores, label[chosen].to(budget.device))

    averaged, done = fit(
        network, loss, budget, settings.seed, asdict(settings), settings.learning_rate,
        weight_decay=1e-3, state_path=state_path,
    )  # fmt: skip
    assert isinstance(averaged, Network)
    return averaged, done


@click.command()
@click.option("--steps", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--ternary", is_flag=True, help="Convolutions of -a, 0 and a.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--learning-rate", type=float, default=Settings.learning_rate, show_default=True)
@click.option("--start", type=click.Path(path_type=Path), help="Weights (.weights) to start from.")
@recipe(Settings.iterations, "onestep.pt")
def main(
    steps: int,
    ternary: bool,
    seed: int,
    learning_rate: float,
    start: Path | None,
    budget: Budget,
    out: Path,
    state_path: Path,
) -> None:
    """Train the network of one time step for MNIST."""
    settings = Settings(steps, ternary, seed, budget.iterations, learning_rate=learning_rate)
    network, done = train(settings, budget, start, state_path)
    save(network.state_dict(), out.with_suffix(".weights"))
    save(checkpoint(network), out)
    images = data.mnist("train")
    held = data.Images(images.pixels[-VALIDATION:], images.label[-VALIDATION:])
    found = accuracy(network, held)
    click.echo(f"{out}: {done} of {budget.iterations} iterations, validation {found:.4f}")


if __name__ == "__main__":
    main()
