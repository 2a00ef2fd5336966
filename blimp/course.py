"""The course of an evolution in phases, on any board, and what is kept of it for a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgesnn.blimp import start as starts
from edgesnn.blimp import task as tasks
from edgesnn.blimp.controllers import DESIGNS, Design, Genome, layout, model
from edgesnn.blimp.data import synthetic, tracks
from edgesnn.blimp.evolution import (
    Generation,
    Native,
    Recipe,
    Reference,
    State,
    genome_of,
    random_genome,
    state_bytes,
)
from edgesnn.blimp.task import Flier, Role, Task, Track
from edgesnn.devices.board import Board
from edgesnn.errors import FormatError, MismatchError, MissingError, ModelError

SLICE = 8000
BUOYANCY = 80_000
"""Largest in training, m/s^2 Q20: 0.076."""
OFFSET = -73_400
"""Of the flights that are judged: -0.07 m/s^2."""
ROLES = (Role.TEST, Role.TRAIN, Role.TRAIN, Role.TRAIN, Role.TEST, Role.VALIDATE)
"""Of the six recorded flights."""


@dataclass(frozen=True)
class Ground:
    """What is flown over: recorded altitudes, and which stretch of them is for what.

    Attributes:
        track: int16, cm.
        segments: start, length and role of each flight.
        recorded: whether they are real.
    """

    track: Track
    segments: tuple[tuple[int, int, Role], ...]
    recorded: bool

    @property
    def task(self) -> Task:
        """Recorded windows, and the fitted blimp."""
        return Task(segments=self.segments, **tasks.plant())

    def tests(self) -> list[Task]:
        """500 s of what was held out, in eight windows (of a synthetic flight less)."""
        found: list[Task] = []
        for start, length, role in self.segments:
            for at in range(start, start + length - 625, 625):
                if role is Role.TEST and len(found) < 8:
                    segments = ((at, 626, Role.TEST),)
                    found.append(replace(self.task, ticks=625, segments=segments))
        return found


def ground(made_up: bool = False) -> Ground:
    """The recorded flights, or three made-up ones.

    Raises:
        MissingError: the recordings are not there.
    """
    flights = synthetic() if made_up else tracks()
    roles = (Role.TRAIN, Role.VALIDATE, Role.TEST) if made_up else ROLES
    starts_at = np.cumsum([0, *(len(f) for f in flights)])
    segments = tuple(
        (int(at), len(f), role) for at, f, role in zip(starts_at, flights, roles, strict=False)
    )
    return Ground(np.concatenate(flights), segments, not made_up)


@dataclass(frozen=True)
class Phase:
    """One evolution of a course.

    Attributes:
        name: for people and files.
        design: of what is evolved.
        task: that it flies.
        sigma, least, frozen: of `Recipe`.
        share: of the course's evaluations.
        built: frozen, too, where the first mean is constructed.
    """

    name: str
    design: Design
    task: Task
    sigma: float
    share: float
    least: float = 1e-4
    frozen: tuple[str, ...] = ()
    built: tuple[str, ...] = ()


def phases(controller: str, over: Ground) -> list[Phase]:
    """The course of a controller: mimic, then fly.

    For the full one, both networks' courses, then the PD network flies beside the I term of a PID
    with an offset to carry, and last the two networks' sum flies; there only the PD's genes change.

    Raises:
        ModelError: there is no such controller.
    """
    if controller not in DESIGNS:
        raise ModelError(f"no controller is called '{controller}': there is {', '.join(DESIGNS)}")
    base = over.task
    flown = tasks.loosened(
        replace(base, flier=Flier.NETWORK, ticks=1600, hold=(150, 400), windows=(3, 8, 0))
    )
    offset = replace(flown, buoyancy=(-BUOYANCY, BUOYANCY))
    told = replace(offset, flier=Flier.PID, target=tasks.I, hold=(200, 400), windows=(2, 6, 0))
    pd = [
        Phase("pd mimic", DESIGNS["pd"], base, 0.004, 0.5),
        Phase("pd flight", DESIGNS["pd"], replace(flown, buoyancy=(-3000, 3000)), 0.01, 0.5),
    ]
    i = [
        Phase("i mimic", DESIGNS["i"], told, 0.002, 0.4, built=starts.INTEGRATES),
        Phase(
            "i flight", DESIGNS["i"], replace(offset, helper=tasks.P | tasks.D), 0.01, 0.6,
            built=starts.INTEGRATES,
        ),
    ]  # fmt: skip
    if controller == "pd":
        return pd
    if controller == "i":
        return i
    judged = replace(offset, hold=(300, 500), settled_weight=2, overshoot_weight=1)
    parts = [replace(p, share=p.share * (0.45 if p in pd else 0.07)) for p in (*pd, *i)]
    kept = tuple(run.name for run in layout(DESIGNS["full"]) if run.name.startswith("i "))
    return [
        *parts,
        Phase("pd beside I", DESIGNS["pd"], replace(judged, helper=tasks.I), 0.01, 0.28),
        Phase("full flight", DESIGNS["full"], judged, 0.005, 0.2, frozen=kept),
    ]


def first(phase: Phase, over: Ground, seed: int, constructed: bool) -> Genome:
    """The first mean of a phase that begins with nothing, constructed or random.

    Raises:
        MissingError: a construction needs scipy, and it is not installed.
    """
    if not constructed:
        return random_genome(phase.design, seed)
    if phase.design.integral:
        return starts.integral(phase.design)
    return starts.matched(over.task, over.track, seed, leak=0.5)


class Runner(Protocol):
    """What runs an evolution: this host, or a board."""

    def generations(self) -> Iterator[Generation]:
        """Run to the end."""
        ...

    @property
    def state(self) -> State:
        """As of the last generation."""
        ...


class OnBoard:
    """An evolution on a board: it computes everything, this host reads along.

    Args:
        board: with nothing on it that is still needed.
        recipe, track, start, state: as of `Native`.
        ticks: of a slice, after which the board answers.
    """

    def __init__(
        self,
        board: Board,
        recipe: Recipe,
        track: Track,
        start: Genome,
        state: bytes = b"",
        ticks: int = SLICE,
    ) -> None:
        self.board, self.recipe, self.start, self.ticks = board, recipe, start, ticks
        genes = sum(r.count for r in layout(recipe.design) if r.name not in recipe.frozen)
        self._room = state_bytes(genes)
        board.put_model(model(start))
        board.begin_evolution(recipe.pack(track), self._room, state, 0)
        self._generation = State.unpack(state).generation if state else 0

    @property
    def state(self) -> State:
        """As of the last generation or validation."""
        return State.unpack(self.board.evolution_state(self._room), "the state on the board")

    def generations(self) -> Iterator[Generation]:
        """Run to the end."""
        while True:
            now = self.board.run_evolution(self.ticks, self._generation)
            if now.generation > self._generation:
                self._generation = now.generation
                validation = now.validation / 65536 if now.validated < 1 << 31 else float("nan")
                yield Generation(now.generation, now.loss / 65536, validation, now.winners)
            if now.finished:
                return


@dataclass
class Done:
    """A phase that was run.

    Attributes:
        phase, recipe: of it.
        start, genome: the first mean and the best.
        log: its generations.
        state: at its end.
    """

    phase: Phase
    recipe: Recipe
    start: Genome
    genome: Genome
    log: list[Generation]
    state: State


@dataclass
class Course:
    """Phases one after the other, each generation kept in a folder.

    Args:
        over: what is flown over.
        controller: pd, i or full.
        evaluations: of candidates, of all the phases.
        seed: of all that is drawn.
        constructed: begin with constructed means, not random ones.
        folder: where states and logs are kept; None: nowhere.
        resume: go on with what is kept there.
        runner: of an evolution, `Native` or one on a board.
    """

    over: Ground
    controller: str
    evaluations: int
    seed: int = 1
    constructed: bool = True
    folder: Path | None = None
    resume: bool = False
    runner: Callable[[Recipe, Track, Genome, bytes], Any] = Native

    def recipe(self, phase: Phase) -> Recipe:
        """The recipe of a phase."""
        generations = max(1, round(self.evaluations * phase.share / 20))
        random = not self.constructed and "mimic" in phase.name
        frozen = phase.frozen + (phase.built if self.constructed else ())
        return Recipe(
            phase.design, phase.task, self.seed, generations=generations,
            sigma=0.1 if random else phase.sigma, least_sigma=phase.least, frozen=frozen,
        )  # fmt: skip

    def run(
        self, told: Callable[[Phase, Recipe, Generation], None] = lambda phase, recipe, line: None
    ) -> list[Done]:
        """Run the phases that are not done yet; `told` hears of every generation.

        Raises:
            MissingError: there is something in the folder, and it is not to be resumed.
            FormatError: what is kept there is of another course.
            MismatchError: the log of a phase does not lead to its end.
        """
        done: list[Done] = []
        for phase in phases(self.controller, self.over):
            done.append(self._phase(phase, done, told))
        return done

    def _phase(
        self,
        phase: Phase,
        before: list[Done],
        told: Callable[[Phase, Recipe, Generation], None],
    ) -> Done:
        recipe = self.recipe(phase)
        same = [d for d in before if d.phase.design == phase.design]
        if same:
            start = same[-1].genome
        elif phase.design == DESIGNS["full"]:
            last = {d.phase.name.split()[0]: d.genome for d in before}
            start = starts.joined(last["pd"], last["i"])
        else:
            start = first(phase, self.over, self.seed, self.constructed)
        kept = _Kept(self.folder, phase.name) if self.folder else None
        state, log = kept.open(self.resume) if kept else (b"", [])
        runner = self.runner(recipe, self.over.track, start, state)
        for line in runner.generations():
            log.append(line)
            if kept:
                kept.keep(line, runner.state.data)
            told(phase, recipe, line)
        end = runner.state
        if kept:
            kept.save(end.data)
        done = Done(phase, recipe, start, genome_of(recipe, start, end.shares), log, end)
        replay(done, self.over.track)
        return done


def replay(done: Done, track: Track) -> None:
    """Make a phase anew from its winners' seeds alone, and compare with its end, bit for bit.

    Raises:
        MismatchError: they differ.
    """
    twin = Reference(done.recipe, track, done.start)
    best = twin.shares(None)
    for line in done.log:
        twin.replay(line.winners)
        if line.number == done.state.best_generation:
            best = twin.shares(None)
    same = np.array_equal(twin.mean, done.state.mean)
    same = same and np.array_equal(twin.sigma, done.state.sigma)
    if not (same and np.array_equal(best, done.state.shares)):
        raise MismatchError(
            f"the winners' seeds of phase '{done.phase.name}' do not lead to where it ended: a log "
            "and a state of two evolutions"
        )


class _Kept:
    """The state and the log of a phase in a folder; a kill loses at most a generation."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / f"{name.replace(' ', '-')}.state"
        self._log = folder / f"{name.replace(' ', '-')}.jsonl"

    def open(self, resume: bool) -> tuple[bytes, list[Generation]]:
        if not resume and self._state.exists():
            raise MissingError(
                f"there is an evolution in {self._state.parent} already: choose another --output, "
                "or go on with --resume"
            )
        if not self._state.exists():
            self._log.write_text("")
            return b"", []
        data = self._state.read_bytes()
        done = State.unpack(data, str(self._state)).generation
        lines = [_line(text) for text in self._log.read_text().splitlines()][:done]
        if len(lines) < done:
            raise FormatError(f"{self._log} has lost generations: start over")
        self._log.write_text("".join(_text(line) for line in lines))
        return data, lines

    def keep(self, line: Generation, state: bytes) -> None:
        with self._log.open("a") as log:
            log.write(_text(line))
        self.save(state)

    def save(self, state: bytes) -> None:
        part = self._state.with_suffix(f".{os.getpid()}")
        part.write_bytes(state)
        part.replace(self._state)


def _text(line: Generation) -> str:
    validation = None if np.isnan(line.validation) else line.validation
    values = [line.number, line.loss, validation, line.winners]
    return json.dumps(values) + "\n"


def _line(text: str) -> Generation:
    try:
        number, loss, validation, winners = json.loads(text)
    except ValueError:
        return Generation(-1, float("nan"), float("nan"), ())  # cut in the middle of a write
    return Generation(number, loss, float("nan") if validation is None else validation,
                      tuple(winners))  # fmt: skip
