"""The command `evolve`: a controller evolved on a board, watched, kept, and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesnn.devices.commands import board_options

if TYPE_CHECKING:
    from edgesnn.blimp.controllers import Genome
    from edgesnn.blimp.course import Ground, Phase
    from edgesnn.blimp.evolution import Generation, Recipe
    from edgesnn.devices.board import Board

SPARKS = "▁▂▃▄▅▆▇█"


@click.command()
@click.option(
    "--controller", type=click.Choice(["pd", "i", "full"]), default="pd", show_default=True,
    help="The PD network, the I network, or both with their sum.",
)  # fmt: skip
@board_options
@click.option(
    "--evaluations", type=click.IntRange(1), default=2000, show_default=True,
    help="Of candidates, all phases together.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, (1 << 32) - 1), default=1, show_default=True)
@click.option(
    "--start", type=click.Choice(["constructed", "random"]), default="constructed",
    show_default=True, help="What the first mean is.",
)  # fmt: skip
@click.option(
    "--synthetic", is_flag=True, help="Over made-up flights, where the recorded ones are not."
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("build/evolve"), show_default=True,
    help="Folder for states, logs, the controller, report.json and report.png.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with what is in the folder.")
def evolve(
    *, controller: str, board: str, evaluations: int, seed: int, start: str, synthetic: bool,
    output: Path, resume: bool,
) -> None:  # fmt: skip
    """Evolve a blimp's altitude controller on a board, and show what came of it.

    The board mutates, flies and judges; this host sends recipe and flights, and reads along.
    Every generation is kept: a kill, or a reset of the board, loses at most one, and --resume goes
    on. The winners' seeds are replayed here, and must lead to the board's own numbers.
    """
    import json

    from edgesnn import blob
    from edgesnn.blimp import course, judge, picture
    from edgesnn.blimp.controllers import build, model
    from edgesnn.devices.backend import open_board
    from edgesnn.devices.qemu import BOARDS
    from edgesnn.terminal import progress_bar

    over = course.ground(synthetic)
    picture.ready()
    with open_board(board) as device:

        def runner(*what: object) -> course.OnBoard:
            return course.OnBoard(device, *what)  # type: ignore[arg-type]

        run = course.Course(
            over, controller, evaluations, seed, start == "constructed", output, resume, runner
        )
        total = sum(run.recipe(p).evaluations for p in course.phases(controller, over))
        losses: list[float] = []
        with progress_bar(f"evolving on {device.info.name}", total) as advance:

            def told(phase: Phase, recipe: Recipe, line: Generation) -> None:
                losses.append(line.loss)
                advance(recipe.evaluations // recipe.generations)
                if line.number % 25 == 0 or line.number == recipe.generations:
                    click.echo(
                        f"{phase.name}, generation {line.number} of {recipe.generations}: "
                        f"best {line.loss:.3f}, validated {line.validation:.3f} "
                        f"{sparkline(losses)}",
                        err=True,
                    )
                if line.number == recipe.generations:
                    losses.clear()

            done = run.run(told)
        name = device.info.name
        last = done[-1]
        looped = in_the_loop(device, controller, last.genome, over)
    graph = build(last.genome)
    figures = judge.judged(controller, last.genome, over)
    report = {
        "controller": controller,
        "board": name,
        "emulated": name in BOARDS,
        "start": start,
        "seed": seed,
        "flights": "recorded" if over.recorded else "made up",
        "phases": {
            d.phase.name: {
                "evaluations": d.state.evaluations, "generations": d.state.generation,
                "validation_loss": d.state.best, "best_generation": d.state.best_generation,
                "replayed_bit_for_bit": True,
            }
            for d in done
        },
        "modelled_plant": True,
        "in_the_loop": {"ticks": looped, "equal_to_host": True},
        "figures": figures,
        "baselines": judge.baselines(over),
    }  # fmt: skip
    blob.save(
        output / f"{controller}.esnn", model(last.genome).graph, {"classes": ["command / 256"]}
    )
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    picture.report(output / "report.png", controller, done, over, graph)
    click.echo(as_text(report))
    click.echo(f"wrote {output / controller}.esnn, {output / 'report.json'} and report.png")


def in_the_loop(device: Board, controller: str, genome: Genome, over: Ground) -> int:
    """Fly two set-points with the controller that stands on the board; the ticks flown.

    Raises:
        MismatchError: the flight is not that of the same controller on this host, bit for bit.
    """
    import numpy as np

    from edgesnn import blob
    from edgesnn.blimp import judge
    from edgesnn.blimp import task as tasks
    from edgesnn.blimp.controllers import build
    from edgesnn.blimp.loop import fly_in_loop
    from edgesnn.errors import MismatchError

    helper = tasks.P | tasks.D if controller == "i" else 0
    task = judge.script(over, judge.STEPS[:2], 0, helper)
    slot = 0 if device.models().slots else None
    flown = fly_in_loop(device, genome, task, over.track, slot)
    image = blob.pack_image(build(genome))
    alone = tasks.fly(image, task, over.track, tasks.Role.TEST, 0).columns
    if not np.array_equal(flown, np.column_stack([alone["error"], alone["network"]])):
        raise MismatchError(f"a flight with {device.info.name} in the loop is not the host's")
    return len(flown)


def sparkline(values: list[float], width: int = 40) -> str:
    """A curve of one line of text; the last of the values at the right."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    means = [sum(values[k : k + step]) / len(values[k : k + step]) for k in
             range(0, len(values), step)]  # fmt: skip
    low, high = min(means), max(means)
    reach = high - low or 1.0
    return "".join(SPARKS[int((m - low) / reach * (len(SPARKS) - 1))] for m in means)


def as_text(report: dict) -> str:  # type: ignore[type-arg]
    """A report for people."""
    emulated = " (emulated)" if report["emulated"] else ""
    lines = [
        f"controller {report['controller']}, evolved on {report['board']}{emulated}, "
        f"{report['start']} start, seed {report['seed']}, {report['flights']} flights"
    ]
    for name, phase in report["phases"].items():
        lines.append(
            f"  {name:12} {phase['evaluations']} evaluations, best validated loss "
            f"{phase['validation_loss']:.3f} in generation {phase['best_generation']}; "
            "the winners' seeds give the same numbers here, bit for bit"
        )
    lines.append(
        f"in the loop: {report['in_the_loop']['ticks']} ticks, the modelled blimp on this host and "
        "the controller on the board, as on this host alone, bit for bit"
    )
    base, figures = report["baselines"], report["figures"]
    if "mimic_loss" in figures:
        others = ", ".join(f"{k.replace('_', ' ')} {v:.2f}" for k, v in base["mimic"].items())
        lines.append(f"mimic loss, held out       {figures['mimic_loss']:.3f} ({others})")
    for name, beside in (("neutral", "pd_neutral"), ("offset", "pid_offset")):
        if name in figures:
            own = base["pid_offset_steps"] if report["controller"] == "full" else base[beside]
            for who, answer in (("network", figures[name]), ("PD" if name == "neutral" else "PID",
                                                             own)):  # fmt: skip
                over = "/".join(f"{x:.0f}" for x in answer["overshoots_cm"])
                lines.append(
                    f"{name}, modelled plant     {who:8} RMSE {answer['rmse_m']:.3f} m, steady "
                    f"error {answer['steady_cm']:.1f} cm, overshoots {over} cm"
                )
    return "\n".join(lines)
