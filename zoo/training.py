"""What the recipes share: spiking layers that train in parallel over time, and the training loop.

Signals lie (steps, batch, neurons), time first, so that a delay is a slice that is not copied.
"""

from __future__ import annotations

import copy
import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edgesnn.errors import EdgesnnError, FormatError, MissingError

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingError(f"{error}, which training needs: run 'pip install torch'") from error

__all__ = [
    "STATE_FORMAT", "BatchNorm", "Budget", "Leaky", "Tensor", "fit", "load_state", "nn",
    "pick_device", "recipe", "save", "torch",
]  # fmt: skip

STATE_FORMAT = 1


class _Leaky(torch.autograd.Function):
    """snnTorch's `Leaky` over all steps, reset by subtraction one step late; threshold 1.

    One backward pass of our own takes a tenth of the time that autograd takes step by step. As in
    snnTorch no gradient flows through the reset.
    """

    @staticmethod
    def forward(ctx: Any, current: Tensor, beta: Tensor, slope: float) -> Tensor:
        v, spikes = torch.empty_like(current), torch.empty_like(current)
        before = reset = torch.zeros_like(current[0])
        for t in range(len(current)):
            torch.addcmul(current[t], beta, before, out=v[t])
            v[t].sub_(reset)
            torch.gt(v[t], 1.0, out=spikes[t])
            before, reset = v[t], spikes[t]
        ctx.save_for_backward(v, beta)
        ctx.slope = slope
        return spikes

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        v, beta = ctx.saved_tensors
        far = (v - 1).abs_().mul_(ctx.slope).add_(1)
        through = gradient / far.square_()
        for t in range(len(v) - 2, -1, -1):
            through[t].addcmul_(beta, through[t + 1])
        return through, (through[1:] * v[:-1]).sum((0, 1)), None


class Leaky(nn.Module):
    """Spiking neurons with a decay each, threshold 1.

    `decay` is the logit of beta.
    """

    def __init__(self, size: int, longest: float, slope: float = 5.0) -> None:
        super().__init__()
        # time constants from one step to the longest, evenly in their logarithm
        tau = torch.logspace(0, math.log10(longest), size)[torch.randperm(size)]
        self.decay = nn.Parameter(torch.logit(torch.exp(-1 / tau)))
        self.slope = slope

    def forward(self, current: Tensor) -> Tensor:
        """Currents (steps, batch, size) to spikes of 0 and 1, from a membrane of 0."""
        spikes: Tensor = _Leaky.apply(current, torch.sigmoid(self.decay), self.slope)
        return spikes


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of (steps, batch, neurons) over steps and batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


@dataclass
class Budget:
    """How long and where to train."""

    iterations: int
    device: torch.device
    deadline: float = math.inf
    title: str = "training"


Loss = Callable[[int, np.random.Generator], Tensor]


def fit(
    network: nn.Module,
    loss: Loss,
    budget: Budget,
    seed: int,
    settings: dict[str, Any],
    learning_rate: float = 3e-3,
    weight_decay: float = 0.01,
    average: float = 0.995,
    state_path: Path | None = None,
) -> tuple[nn.Module, int]:
    """Train, and return the average of the last weights and the iterations done.

    Args:
        network: in place.
        loss: of an iteration, with a generator of its own: a resumed run equals one in one piece.
        budget: ends early at its deadline (seconds of time.monotonic).
        seed, settings: settings identify the run that `state_path` belongs to.
        average: how much of the running average of the weights a step keeps.
        state_path: where to continue from, and to leave the state at an early end.
    """
    averaged = copy.deepcopy(network)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0}]
    )
    done = 0
    if state_path and state_path.exists():
        state = load_state(state_path, settings)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimiser.load_state_dict(state["optimiser"])
        done = int(state["done"])
    columns = (
        TextColumn(budget.title),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[status]}"),
        TimeRemainingColumn(),
    )
    network.train()
    smooth = math.nan
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=budget.iterations, completed=done, status="")
        while done < budget.iterations and time.monotonic() < budget.deadline:
            torch.manual_seed(seed * 1_000_003 + done)
            rng = np.random.default_rng((seed, done))
            warm = min(1.0, (done + 1) / 50)
            phase = math.cos(math.pi * done / budget.iterations)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * warm * (0.01 + 0.495 * (1 + phase))
            value = loss(done, rng)
            optimiser.zero_grad()
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            done += 1
            keep = min(average, done / (done + 10))
            with torch.no_grad():
                for mean, now in zip(averaged.parameters(), network.parameters(), strict=True):
                    mean.lerp_(now, 1 - keep)
                for mean, now in zip(averaged.buffers(), network.buffers(), strict=True):
                    if mean.is_floating_point():
                        mean.lerp_(now, 1 - keep)
                    else:
                        mean.copy_(now)
            smooth = value.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * value.item()
            progress.update(bar, completed=done, status=f"loss {smooth:.3f}")
    if state_path and done < budget.iterations:
        save(
            {
                "format": STATE_FORMAT, "settings": settings, "done": done,
                "network": network.state_dict(), "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
            },
            state_path,
        )  # fmt: skip
    averaged.eval()
    return averaged, done


def save(content: dict[str, Any], path: Path) -> None:
    """torch.save, beside the target and renamed: a crash leaves no half a file."""
    part = path.with_name(path.name + ".part")
    torch.save(content, part)
    part.replace(path)


def load_state(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A state that a run with the same settings has saved, with `STATE_FORMAT` as its format.

    Raises:
        FormatError: it is none, or of a run with other settings.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        same = state["format"] == STATE_FORMAT and state["settings"] == settings
    except Exception as error:
        raise FormatError(f"{path} is not a training state; delete it to start afresh") from error
    if not same:
        raise FormatError(f"{path} is of a run with other settings; delete it to start afresh")
    return state


def pick_device(name: str) -> torch.device:
    """The device of a name, "auto" for an accelerator if there is one.

    Raises:
        MissingError: it is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        # sums split over threads depend on their number, and these matrices gain little from it
        torch.set_num_threads(1)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MissingError(f"device '{name}' is not available here; use --device cpu") from error
    return device


def recipe(iterations: int, out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that every recipe has; the command gets `budget`, `out` and `state_path`.

    Args:
        iterations: unless --iterations says otherwise.
        out: likewise, where the network goes.
    """

    def decorated(command: Callable[..., None]) -> Callable[..., None]:
        @click.option("--iterations", type=click.IntRange(1), default=iterations, show_default=True)
        @click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, ...")
        @click.option(
            "--minutes", type=click.FloatRange(0, min_open=True), help="Stop after this time."
        )
        @click.option("--out", type=click.Path(path_type=Path), default=Path(out))
        @click.option("--resume", is_flag=True, help="Continue the run that --minutes ended.")
        @functools.wraps(command)
        def run(
            *, iterations: int, device: str, minutes: float | None, out: Path, resume: bool,
            **settings: Any,
        ) -> None:  # fmt: skip
            deadline = time.monotonic() + 60 * minutes if minutes else math.inf
            state_path = out.with_suffix(".state")
            try:
                if not out.parent.is_dir():
                    raise MissingError(
                        f"the folder of --out, {out.parent}, does not exist; create it"
                    )
                if not resume:
                    state_path.unlink(missing_ok=True)
                budget = Budget(iterations, pick_device(device), deadline, out.stem)
                command(budget=budget, out=out, state_path=state_path, **settings)
            except EdgesnnError as error:
                raise click.ClickException(str(error)) from error

        return run

    return decorated
