"""The table of docs/blimp.md: `make blimp`, or `python -m edgesnn.blimp.table`.

Evolves every controller with ten seeds on this host (the firmware's own C), a few at a time, judges
them beside a PID, runs an evolution on the emulated Cortex-M4 and compares it with this host's bit
for bit, counts instructions, and writes build/blimp.json.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesnn.blimp import course, judge
from edgesnn.blimp.controllers import ADAPTIVE, DESIGNS, Genome
from edgesnn.blimp.cost import SMALL, counted
from edgesnn.blimp.evolution import Native, Recipe
from edgesnn.blimp.start import integral
from edgesnn.errors import EdgesnnError, MismatchError
from edgesnn.terminal import progress_bar
from edgesnn.zoo.blimp import RESULTS

EVALUATIONS = 22_000
"""Of candidates of the full controller's course and seed, at a budget of 1."""
SEEDS = 10
BOARD = "mps2-an386"
BOARD_GENERATIONS = 3
RANDOM_SHARE = 0.3
"""Of the evaluations of a course, those of a mimic from random genes."""
CYCLES = 1.3
"""An instruction, assumed; not measured."""
CLOCK = 64e6


def evolved(job: tuple[int, float, bool]) -> dict[str, Any]:
    """One seed: the full course and what each controller reaches on its way; or a random start.

    Args:
        job: seed, budget, whether the first means are constructed.
    """
    seed, budget, constructed = job
    over = course.ground()
    started = time.monotonic()
    evaluations = round(EVALUATIONS * budget)
    if not constructed:
        phase = replace(course.phases("pd", over)[0], share=1.0)
        run = course.Course(over, "pd", round(RANDOM_SHARE * evaluations), seed, False)
        done = run._phase(phase, [], lambda *told: None)
        return {
            "seed": seed, "evaluations": done.state.evaluations,
            "random": judge.judged("pd", done.genome, over),
        }  # fmt: skip
    phases = course.Course(over, "full", evaluations, seed).run()
    found: dict[str, Any] = {
        "seed": seed,
        "evaluations": {d.phase.name: d.state.evaluations for d in phases},
        "validation": {d.phase.name: d.state.best for d in phases},
        "genomes": {d.phase.name: d.genome.values.tolist() for d in phases},
        "starts": {d.phase.name: d.start.values.tolist() for d in phases},
        "seconds": time.monotonic() - started,
    }
    return {**found, **figures(found, over)}


def figures(seed: dict[str, Any], over: course.Ground) -> dict[str, Any]:
    """What the genomes of a seed reach."""

    def of(kind: str, which: str, phase: str) -> dict[str, Any]:
        values = np.array(seed[which][phase], np.int64)
        return judge.judged(kind, Genome(DESIGNS[kind], values), over)

    return {
        "constructed": {
            "pd": of("pd", "starts", "pd mimic"),
            "i": of("i", "starts", "i mimic"),
            "full": of("full", "starts", "full flight"),
        },
        "pd mimic": of("pd", "genomes", "pd mimic"),
        "pd flight": of("pd", "genomes", "pd flight"),
        "i flight": of("i", "genomes", "i flight"),
        "full flight": of("full", "genomes", "full flight"),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    low, lower, median, upper, high = np.percentile(values, [0, 25, 50, 75, 100])
    return {"median": median, "lower": lower, "upper": upper, "least": low, "most": high}


def on_board(over: course.Ground, board: str) -> dict[str, Any]:
    """A short evolution of the PD on a board, and the same on this host.

    Raises:
        MismatchError: they differ in a bit.
        MissingError: the board, or the firmware of it, is not there.
    """
    from edgesnn.devices.backend import open_board

    phase = course.phases("pd", over)[0]
    recipe = Recipe(phase.design, phase.task, generations=BOARD_GENERATIONS, sigma=phase.sigma)
    start = course.first(phase, over, 1, True)
    if SMALL.is_dir():
        os.environ["EDGESNN_FIRMWARE"] = str(SMALL)
    with open_board(board) as device:
        runner = course.OnBoard(device, recipe, over.track, start, ticks=1600)
        log = list(runner.generations())
        state = runner.state
    host = Native(recipe, over.track, start)
    same = list(host.generations()) and host.state.data == state.data
    if not same:
        raise MismatchError(f"an evolution on {board} ends in another state than this host's")
    course.replay(course.Done(phase, recipe, start, host.genome(), log, state), over.track)
    return {"board": board, "emulated": True, "generations": len(log),
            "evaluations": state.evaluations, "equal_bit_for_bit": True}  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """What was reached, beside what was to be reached and a PID."""
    base, marks = result["baselines"], result["marks"]
    lines = [
        f"budget {result['budget']:g}: {result['evaluations']} evaluations of candidates a seed, "
        f"{len(result['seeds'])} seeds, median (least..most); closed loop: MODELLED plant",
        f"{'':44}{'reached':>24}  {'mark':>8}",
    ]

    def row(name: str, figure: dict[str, float], mark: float | None, places: int = 2) -> None:
        got = f"{figure['median']:.{places}f} ({figure['least']:.{places}f}.."
        got += f"{figure['most']:.{places}f})"
        said = "" if mark is None else f"{mark:.{places}f}"
        missed = "  MISSED" if mark is not None and figure["median"] > mark + 1e-9 else ""
        lines.append(f"{name:44}{got:>24}  {said:>8}{missed}")

    row("PD mimic loss, held-out 500 s", marks["pd mimic loss"], 0.68)
    row("  before evolution (constructed)", marks["constructed mimic loss"], None)
    row("  from random genes", marks["random mimic loss"], None)
    row("  in code units (+-10), not the paper's", marks["pd mimic loss, code unit"], None)
    others = ", ".join(f"{k.replace('_', ' ')} {v:.2f}" for k, v in base["mimic"].items())
    lines.append(f"  beside it: {others}")
    pd = base["pd_neutral"]["rmse_m"]
    row("PD flown, neutral: altitude RMSE / PD's", marks["pd rmse by pd's"], 1.1)
    row("  constructed, not evolved", marks["constructed rmse by pd's"], None)
    row("  mimic alone, not evolved in flight", marks["mimic rmse by pd's"], None)
    lines.append(f"  beside it: PD {pd:.3f} m")
    row("I with PD, offset: steady error, cm", marks["i steady"], 2)
    row("  constructed, not evolved", marks["constructed i steady"], None)
    if "adaptive i" in result:
        other = result["adaptive i"]["offset"]["steady_cm"]
        row("  adaptive thresholds instead, constructed", spread([other]), None)
    row("  largest overshoot / PID's", marks["i overshoot by pid's"], None)
    lines.append(f"  beside it: PID {base['pid_offset']['steady_cm']:.2f}, "
                 f"PD alone {base['pd_offset']['steady_cm']:.1f}")  # fmt: skip
    row("full, offset: steady error, cm", marks["full steady"], 3)
    row("full, offset: largest overshoot / PID's", marks["full overshoot by pid's"], 1)
    row("  before the last phase, the two together", marks["joined overshoot by pid's"], None)
    pid = base["pid_offset_steps"]
    overshoots = "/".join(f"{x:.0f}" for x in pid["overshoots_cm"])
    lines.append(f"  beside it: PID {pid['steady_cm']:.2f} cm, overshoots {overshoots} cm")
    if "count" in result:
        counted = result["count"]
        for name, mark in (("pd", 4000), ("i", 4000), ("full", None), ("adaptive i", None)):
            row(f"step of {name}, instructions (emulated M4)", counted[name]["step"], mark, 0)
        lines.append(
            f"an evaluation of {counted['ticks']:,} ticks: {counted['evaluation']:,} instructions "
            f"(emulated M4); {result['evaluations']:,} of them: {counted['minutes']:.0f} minutes "
            f"modelled at 64 MHz and {CYCLES} cycles an instruction"
        )
        if counted["ram"] is not None:
            lines.append(
                f"RAM of the firmware that evolves, recorded flights, link and stack included: "
                f"{counted['ram']:,} of 65,536 bytes"
            )
    if "board" in result:
        done = result["board"]
        lines.append(
            f"evolution on the emulated {done['board']}: {done['generations']} generations, "
            f"{done['evaluations']} evaluations, equal to the host's bit for bit"
        )
    return "\n".join(lines)


def summed_up(seeds: list[dict[str, Any]], random: list[dict[str, Any]], base: Any) -> Any:
    """The marks, over the seeds."""
    pd = base["pd_neutral"]["rmse_m"]
    over = max(base["pid_offset_steps"]["overshoots_cm"])

    def of(*path: str) -> list[Any]:
        found = seeds
        for name in path:
            found = [f[name] for f in found]
        return found

    def rmse(*path: str) -> dict[str, float]:
        return spread([x / pd for x in of(*path, "neutral", "rmse_m")])

    def overshoot(*path: str, pid: float = over) -> dict[str, float]:
        return spread([max(x) / pid for x in of(*path, "offset", "overshoots_cm")])

    return {
        "pd mimic loss": spread(of("pd mimic", "mimic_loss")),
        "pd mimic loss, code unit": spread(of("pd mimic", "mimic_loss_code_unit")),
        "constructed mimic loss": spread(of("constructed", "pd", "mimic_loss")),
        "random mimic loss": spread([r["random"]["mimic_loss"] for r in random]),
        "pd rmse by pd's": rmse("pd flight"),
        "constructed rmse by pd's": rmse("constructed", "pd"),
        "mimic rmse by pd's": rmse("pd mimic"),
        "flown pd mimic loss": spread(of("pd flight", "mimic_loss")),
        "i steady": spread(of("i flight", "offset", "steady_cm")),
        "constructed i steady": spread(of("constructed", "i", "offset", "steady_cm")),
        "i overshoot by pid's": overshoot("i flight", pid=max(base["pid_offset"]["overshoots_cm"])),
        "full steady": spread(of("full flight", "offset", "steady_cm")),
        "full rmse": spread(of("full flight", "offset", "rmse_m")),
        "full overshoot by pid's": overshoot("full flight"),
        "joined overshoot by pid's": overshoot("constructed", "full"),
        "joined steady": spread(of("constructed", "full", "offset", "steady_cm")),
    }


def kept(result: dict[str, Any]) -> dict[str, Any]:
    """What is committed: all but the genomes of seeds other than the one that validates best."""
    best = min(result["seeds"], key=lambda seed: seed["validation"]["full flight"])
    bare = [{k: v for k, v in s.items() if k not in ("genomes", "starts")} for s in result["seeds"]]
    return {**result, "seeds": bare, "best": {k: best[k] for k in ("seed", "genomes")}}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--budget", type=float, default=1.0, help="evaluations, times 22,000")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--output", type=Path, default=Path("build/blimp.json"))
    parser.add_argument("--accept", action="store_true", help="keep the figures in zoo/blimp")
    parser.add_argument("--no-board", action="store_true", help="leave the emulated board out")
    chosen = parser.parse_args(arguments)
    try:
        over = course.ground()
        base = judge.baselines(over)
        result: dict[str, Any] = {
            "budget": chosen.budget,
            "evaluations": round(EVALUATIONS * chosen.budget),
            "baselines": base,
            "adaptive i": judge.judged("i", integral(ADAPTIVE), over),
        }
        numbers = range(1, chosen.seeds + 1)
        jobs = [(seed, chosen.budget, kind) for kind in (True, False) for seed in numbers]
        found: list[dict[str, Any]] = []
        with (
            progress_bar("evolving", len(jobs)) as advance,
            ProcessPoolExecutor(chosen.jobs) as pool,
        ):
            for one in pool.map(evolved, jobs):
                found.append(one)
                advance(1)
        result["seeds"], result["random"] = found[: chosen.seeds], found[chosen.seeds :]
        result["marks"] = summed_up(result["seeds"], result["random"], base)
        if not chosen.no_board:
            result["board"] = on_board(over, BOARD)
            full = Genome(DESIGNS["full"], np.array(found[0]["genomes"]["full flight"], np.int64))
            result["count"] = counted(over, full, result["evaluations"], CYCLES, CLOCK)
    except EdgesnnError as error:
        print(f"blimp: {error}", file=sys.stderr)
        return error.exit_code
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(result, indent=1) + "\n")
    if chosen.accept:
        RESULTS.write_text(json.dumps(kept(result)) + "\n")
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
