"""An ordinary network beside each of the zoo's: `python -m edgesnn.zoo.baseline`.

Trained on the same recordings and judged on the same ones, as floats, with what its inputs cost
left out: a perceptron of 64 ReLUs on hand-made features of a window of the watch, convolutions of
the same widths with ReLUs for pictures, and for digits convolutions over the logarithms of what the
same filters give. Writes their accuracies into zoo/figures.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgesnn.errors import EdgesnnError
from edgesnn.zoo import data, digits, mnist, table, wrist
from edgesnn.zoo.mnist.train import augmented
from edgesnn.zoo.training import Budget, Tensor, fit, nn, pick_device, torch

Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What a network is trained on and judged by: inputs (n, ...) and classes (n,)."""

    train: tuple[Float32Array, NDArray[np.int64]]
    test: tuple[Float32Array, NDArray[np.int64]]


def features(windows: Float32Array) -> Float32Array:
    """Of windows (n, steps, channels): mean, deviation, extremes, mean change, log spectrum."""
    spectrum = np.abs(np.fft.rfft(windows - windows.mean(1, keepdims=True), axis=1))[:, 1:21]
    parts = [
        windows.mean(1), windows.std(1), windows.min(1), windows.max(1),
        np.abs(np.diff(windows, axis=1)).mean(1), np.log(spectrum + 0.1).reshape(len(windows), -1),
    ]  # fmt: skip
    return np.concatenate(parts, 1).astype(np.float32)


def perceptron(inputs: int, classes: int) -> nn.Module:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, classes))


def for_pictures() -> nn.Module:
    """The network of `edgesnn.zoo.mnist` with ReLUs."""
    layers: list[Any] = []
    for k, (before, after) in enumerate(zip((1, *mnist.CHANNELS), mnist.CHANNELS, strict=False)):
        size = 5 if k == 0 else 3
        layers += [nn.Conv2d(before, after, size, 2, size // 2), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2),
                         nn.Linear(16 * mnist.CHANNELS[-1], 10))  # fmt: skip


class ForSound(nn.Module):
    """Two convolutions over time, the mean, and a layer of weights."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(bands, 64, 9, padding=4), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3),
            nn.Conv1d(64, 96, 9, stride=2, padding=4), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Dropout(0.3),
        )  # fmt: skip
        self.output = nn.Linear(2 * 96, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, bands) to scores (batch, 10)."""
        y = self.layers(x.transpose(1, 2))
        scores: Tensor = self.output(torch.cat([y.mean(2), y.amax(2)], 1))
        return scores


def loudness(frames: Float32Array) -> Float32Array:
    """Logarithm of what each band of `digits.filters` gives, (n, steps, BANDS)."""
    before = np.concatenate([np.zeros_like(frames[:, :1]), frames[:, :-1]], 1)
    value = np.concatenate([before, frames], 2) @ digits.filters().T
    power = np.square(value).reshape(*value.shape[:2], -1, 2).sum(3)
    made: Float32Array = np.log(power + 1)
    return made


def judge(network: nn.Module, task: Task, iterations: int, pictures: bool = False) -> float:
    """Train a network and return its share of test recordings right."""
    given, label = (torch.from_numpy(part) for part in task.train)
    shift = given.mean(0, keepdim=True) if not pictures else 0.0
    scale = given.std(0, keepdim=True) + 1e-3 if not pictures else 255.0

    def loss(done: int, rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(0, len(label), 128 if pictures else 256))
        x = (given[chosen] - shift) / scale
        x = augmented(x) if pictures else x
        return nn.functional.cross_entropy(network(x), label[chosen], label_smoothing=0.1)

    budget = Budget(iterations, pick_device("cpu"))
    trained, _ = fit(network, loss, budget, 0, {}, 2e-3, average=0.99)
    tested = (torch.from_numpy(task.test[0]) - shift) / scale
    with torch.no_grad():
        found = torch.cat([trained(part).argmax(1) for part in tested.split(500)])
    return float((found.numpy() == task.test[1]).mean())


def of_wrist() -> dict[str, str]:
    """Windows of the watch."""

    def task(train: Any, test: Any) -> Task:
        return Task((features(train[0]), train[1]), (features(test[0]), test[1]))

    subjects = wrist.recordings().subject
    right, count = 0.0, 0
    for fold in range(wrist.FOLDS):
        held = wrist.held_out(fold)
        test = wrist.of_subjects(held)
        one = task(wrist.of_subjects(np.setdiff1d(subjects, held)), test)
        torch.manual_seed(fold)
        right += judge(perceptron(150, 7), one, 1500) * len(test[1])
        count += len(test[1])
    split = task(wrist.random_windows("train"), wrist.random_windows("test"))
    torch.manual_seed(0)
    mixed = judge(perceptron(150, 7), split, 1500)
    said = "MLP on 150 features"
    return {"by subject": f"{said} {right / count:.2%}", "random windows": f"{said} {mixed:.2%}"}


def of_mnist() -> dict[str, str]:
    """Pictures."""
    train, test = data.mnist("train"), data.mnist("test")
    task = Task(
        (train.pixels[:, None].astype(np.float32), train.label),
        (test.pixels[:, None].astype(np.float32), test.label),
    )
    torch.manual_seed(0)
    said = f"CNN of the same shape {judge(for_pictures(), task, 3000, pictures=True):.2%}"
    return {protocol: said for _, protocol, _ in mnist.NETWORKS}


def of_digits() -> dict[str, str]:
    """Spoken digits."""
    train, test = digits.frames("train"), digits.frames("test")
    task = Task((loudness(train[0]), train[1]), (loudness(test[0]), test[1]))
    torch.manual_seed(0)
    said = f"CNN on log bands {judge(ForSound(digits.BANDS), task, 400):.2%}"
    return {f"official, {kind}": said for _, kind in digits.NETWORKS}


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Train the ordinary networks, all or those beside NAMES (wrist, mnist, digits)."""
    known = json.loads(table.FIGURES.read_text())
    for name, train in (("wrist", of_wrist), ("mnist", of_mnist), ("digits", of_digits)):
        if names and name not in names:
            continue
        try:
            known["baselines"][name] = train()
        except EdgesnnError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{name}: {known['baselines'][name]}")
    table.FIGURES.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
