"""Evolution with a step size a gene: its recipe, the firmware's own on this host, and a plain twin.

**Candidates are seeds.** Gene k of the candidate with seed s is `mean_k + sigma_k z(s, k)`, with z
the sum of the four bytes of `mixed(s, k)`, scaled to variance 1: about normal. Nothing of a
candidate but its seed is kept, and the seeds of a generation follow from the seed of the run.

**Separable evolution**, the class of SNES (Schaul, Glasmachers, Schmidhuber, GECCO 2011) and
sep-CMA-ES: with the mu best of lambda candidates, best first, weights w that fall as a logarithm
and add up to 1, and z of their mutations,

    mean <- mean + sigma sum(w z);   sigma <- sigma exp(rate / 2 * sum(w (z^2 - 1)))

Only winners enter, so that a log of their seeds tells the whole course. **(1 + lambda)**, the
smallest: the best candidate, if it is better than the parent ON THE SAME WINDOWS, is the next
parent; all step sizes grow by exp(rate) then, and else shrink by exp(rate / 4).

Every candidate of a generation, and the parent, fly the same windows. Before the first generation
and every so many generations the mean is flown on the validation windows, which stay the same; the
best of these means is what evolution gives. It is flown on the test windows once, at the end.

Genes are shares of the range between their bounds (`controllers.Genes`), Q24, mirrored back into it
at the bounds and cut to 16 bits: `firmware/app/evolve.c` is the same, bit for bit.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgesnn import _core, blob, reference
from edgesnn.blimp.controllers import Design, Genome, IntArray, Kind, build, layout
from edgesnn.blimp.task import Flight, Role, Task, Track, mixed
from edgesnn.errors import FormatError, ModelError

VERSION = 1
ONE = 1 << 24
MAX_MU, MAX_RUNS, MAX_LAMBDA = 32, 32, 64
VARIANCE, SCALE = 21845, 443
UNKNOWN = 0xFFFFFFFF
STATE = struct.Struct(f"<15I{MAX_MU}I")
FINER = 10
SEPARABLE, ONE_PLUS = 0, 1


@dataclass(frozen=True)
class Recipe:
    """What is evolved, and how.

    Attributes:
        design: of the controller.
        task: that its candidates fly.
        seed: of the run.
        strategy: SEPARABLE or ONE_PLUS.
        candidates, winners: lambda and mu.
        generations: after which it ends.
        validate_every: generations from one validation of the mean to the next.
        sigma: first step sizes, share of each gene's range (of thresholds a tenth of it, whose
            useful values lie close to 0); the paper: 0.1.
        rate: of step sizes; None: (3 + ln n) / (5 sqrt n) for n genes, as SNES.
        least_sigma: below which no step size falls.
        frozen: names of runs of genes that stay as they are.
    """

    design: Design
    task: Task
    seed: int = 1
    strategy: int = SEPARABLE
    candidates: int = 20
    winners: int = 10
    generations: int = 100
    validate_every: int = 5
    sigma: float = 0.02
    rate: float | None = None
    least_sigma: float = 1e-4
    frozen: tuple[str, ...] = ()

    @property
    def weights(self) -> list[int]:
        """Of the winners, best first, Q15, falling as ln(mu + 1) - ln(rank)."""
        raw = [math.log(self.winners + 1) - math.log(k + 1) for k in range(self.winners)]
        exact = [round(32768 * w / sum(raw)) for w in raw]
        exact[0] += 32768 - sum(exact)
        return exact

    @property
    def rate_q16(self) -> int:
        """The rate of step sizes, Q16."""
        n = sum(run.count for run in layout(self.design) if run.name not in self.frozen)
        rate = (3 + math.log(n)) / (5 * math.sqrt(n)) if self.rate is None else self.rate
        return min(65536, round(65536 * rate))

    def sigma_q24(self, kind: Kind) -> int:
        """First step sizes of genes of a kind, Q24."""
        return round(self.sigma * ONE) // (FINER if kind is Kind.THRESHOLD else 1)

    @property
    def evaluations(self) -> int:
        """Evaluations of candidates, of parents and of validations."""
        each = self.candidates + (self.strategy == ONE_PLUS)
        return self.generations * each + -(-self.generations // self.validate_every)

    def pack(self, track: Track) -> bytes:
        """The bytes of the firmware's `evolve_recipe`, with the recorded altitudes behind it.

        Raises:
            ModelError: lambda, mu or the genes are too many.
        """
        runs = [run for run in layout(self.design) if run.name not in self.frozen]
        if not 1 <= self.winners <= min(self.candidates, MAX_MU) or self.candidates > MAX_LAMBDA:
            raise ModelError(
                f"{self.winners} winners of {self.candidates} candidates cannot be: there are at "
                f"most {MAX_LAMBDA} candidates, of which at most {MAX_MU} win"
            )
        weights = [*self.weights, *([0] * MAX_MU)][:MAX_MU]
        rows: list[tuple[int, ...]] = [
            (
                r.kind,
                r.part,
                r.count,
                r.stride,
                r.second,
                r.mirror,
                r.low,
                r.high,
                self.sigma_q24(r.kind),
            )
            for r in runs
        ]
        rows += [(0,) * 9] * (MAX_RUNS - len(runs))
        tail = np.ascontiguousarray(track, "<i2").tobytes()
        tail += bytes(-len(tail) % 4)
        numbers = [
            self.rate_q16, *weights, max(1, round(self.least_sigma * ONE)), len(runs), len(track),
            *(int(number) for row in rows for number in row),
        ]  # fmt: skip
        body = struct.pack(f"<{len(numbers)}i", *numbers) + self.task.pack() + tail
        head = (
            self.seed, self.strategy, self.candidates, self.winners, self.generations,
            self.validate_every,
        )  # fmt: skip
        return struct.pack("<8I", VERSION, 32 + len(body), *head) + body


def state_bytes(genes: int) -> int:
    """Bytes of the state of an evolution of so many genes, as it is kept."""
    return int(STATE.size + 8 * genes + ((2 * genes + 3) & ~3))


@dataclass(frozen=True)
class State:
    """What a generation leaves behind, as the firmware keeps it.

    Attributes:
        generation, evaluations, windows: done.
        loss: of the best candidate of the last generation.
        validation, best, best_generation: of the last mean, of the best mean, and when.
        test: of the best mean, NaN before the end.
        finished: whether it is at its end.
        winners: seeds of the last generation's winners, best first.
        mean, sigma, shares: (genes,) Q24, Q24, and Q16 of the best mean.
        data: the bytes, to go on from.
    """

    generation: int
    evaluations: int
    windows: int
    loss: float
    validation: float
    best: float
    best_generation: int
    test: float
    finished: bool
    winners: tuple[int, ...]
    mean: IntArray
    sigma: IntArray
    shares: IntArray
    data: bytes = field(repr=False)

    @classmethod
    def unpack(cls, data: bytes, where: str = "the state") -> State:
        """Raises FormatError for bytes that are damaged or no state."""
        whole = len(data) >= STATE.size
        head = STATE.unpack_from(data) if whole else ()
        if not whole or head[1] != len(data) or zlib.crc32(data[4:]) != head[0]:
            raise FormatError(f"{where} is damaged or no state of an evolution: start over")
        (_, _, _, genes, phase, generation, _, evaluations, windows, *rest) = head
        loss, validation, best, best_generation, test, n_winners, *winners = rest
        at = STATE.size
        arrays = []
        for dtype, size in (("<i4", 4), ("<u4", 4), ("<u2", 2)):
            arrays.append(np.frombuffer(data, dtype, genes, at).astype(np.int64))
            at += size * genes
        mean, sigma, shares = arrays
        return cls(
            generation, evaluations, windows, _real(loss), _real(validation), _real(best),
            best_generation, _real(test), bool(phase), tuple(winners[:n_winners]), mean, sigma,
            shares, data,
        )  # fmt: skip


def _real(loss: int) -> float:
    return math.nan if loss == UNKNOWN else loss / 65536


@dataclass(frozen=True)
class Generation:
    """One line of the log: what a generation came to.

    Attributes:
        number: from 1.
        loss, validation: of its best candidate; of the last mean before it that was validated.
        winners: seeds, best first.
    """

    number: int
    loss: float
    validation: float
    winners: tuple[int, ...]


def genome_of(recipe: Recipe, start: Genome, shares: IntArray) -> Genome:
    """The genome of shares (genes,) Q16; frozen genes are those of the start."""
    values = start.values.copy()
    at = place = 0
    for run in layout(recipe.design):
        if run.name not in recipe.frozen:
            x = shares[at : at + run.count].astype(np.int64)
            values[place : place + run.count] = run.low + ((run.high - run.low) * x + 32768 >> 16)
            at += run.count
        place += run.count
    return Genome(recipe.design, values)


class Native:
    """The firmware's evolution, on this host.

    Args:
        recipe: of it.
        track: recorded altitudes, cm.
        start: whose genes are the first mean.
        state: bytes that were kept, to go on from; of another recipe they are not taken.

    Raises:
        ModelError: the core refuses the recipe.
    """

    def __init__(self, recipe: Recipe, track: Track, start: Genome, state: bytes = b"") -> None:
        ffi, lib = _core.ffi, _core.lib
        self.recipe, self.start = recipe, start
        packed = recipe.pack(track)
        image = blob.pack_image(build(start))
        genes = sum(r.count for r in layout(recipe.design) if r.name not in recipe.frozen)
        self._recipe = ffi.new("uint32_t[]", (len(packed) + 3) // 4)
        self._image = ffi.new("uint32_t[]", (len(image) + 3) // 4)
        self._bytes = len(image)
        room = blob.unpack(image).arena_bytes
        self._arena = ffi.new("uint32_t[]", room // 4)
        self._state = ffi.new("uint32_t[]", state_bytes(genes) // 4)
        ffi.memmove(self._recipe, packed, len(packed))
        ffi.memmove(self._image, image, len(image))
        ffi.memmove(self._state, state, min(len(state), state_bytes(genes)))
        self._evolution = ffi.new("evolution *")
        status = lib.evolve_begin(
            self._evolution, ffi.cast("evolve_recipe *", self._recipe), len(packed),
            ffi.cast("uint8_t *", self._image), len(image),
            ffi.cast("evolve_state *", self._state), self._arena, room,
        )  # fmt: skip
        if status != 0:
            raise ModelError(f"the firmware refuses the recipe (status {status})")

    def run(self, ticks: int) -> int:
        """Run the network for at most so many ticks and to the end of a generation; those run."""
        return int(_core.lib.evolve_run_for(self._evolution, ticks))

    @property
    def state(self) -> State:
        """As of the last generation or validation that was completed."""
        header = _core.ffi.cast("evolve_state *", self._state)
        return State.unpack(bytes(_core.ffi.buffer(self._state, header.bytes)))

    @property
    def image(self) -> bytes:
        """Of the candidate that was flown last; at the end of the best mean."""
        return bytes(_core.ffi.buffer(self._image, self._bytes))

    def generations(self, ticks: int = 1 << 30) -> Iterator[Generation]:
        """Run to the end, in slices of so many ticks."""
        seen = self.state
        while not seen.finished:
            ran = self.run(ticks)
            now = self.state
            if now.generation > seen.generation:
                yield Generation(now.generation, now.loss, now.validation, now.winners)
            seen = now
            assert ran

    def genome(self) -> Genome:
        """Of the best mean."""
        return genome_of(self.recipe, self.start, self.state.shares)


class Reference:
    """The same evolution in plain Python: slow, for a few generations of short windows.

    `replay` needs no flights at all: it makes the course anew from the winners' seeds.
    """

    def __init__(self, recipe: Recipe, track: Track, start: Genome) -> None:
        self.recipe, self.track, self.start = recipe, track, start
        self.runs = [run for run in layout(recipe.design) if run.name not in recipe.frozen]
        self.mean: list[int] = []
        for run, part in zip(layout(recipe.design), start.parts(), strict=True):
            if run.name not in recipe.frozen:
                reach = run.high - run.low
                self.mean += [(int(value) - run.low) * ONE // reach for value in part]
        least = max(1, round(recipe.least_sigma * ONE))
        self.sigma = [
            max(recipe.sigma_q24(r.kind), least) for r in self.runs for _ in range(r.count)
        ]
        self.best = [share(m) for m in self.mean]
        self.best_loss = self.loss = UNKNOWN
        self.generation = 0
        self.validation = math.nan

    def seed_of(self, candidate: int) -> int:
        """The seed of a candidate of this generation."""
        seed = mixed(mixed(self.recipe.seed, self.generation), candidate)
        return 0 if seed == UNKNOWN else seed

    def shares(self, seed: int | None) -> IntArray:
        """The mean with the mutation of a seed, (genes,) Q16."""
        moved = [
            m + (0 if seed is None else offset(s, gauss(seed, k)))
            for k, (m, s) in enumerate(zip(self.mean, self.sigma, strict=True))
        ]
        return np.array([share(x) for x in moved])

    def judge(self, shares: IntArray, role: Role) -> int:
        """The loss of a candidate on this generation's windows of a role, Q16."""
        genome = genome_of(self.recipe, self.start, shares)
        windows = self.recipe.task.windows[role]
        return sum(self._fly(genome, role, w) for w in range(windows)) // windows

    def _fly(self, genome: Genome, role: Role, window: int) -> int:
        base = 0x626C6D70 + role
        if role is Role.TRAIN:
            base = mixed(~self.recipe.seed & 0xFFFFFFFF, self.generation)
        flight = Flight(self.recipe.task, self.track, role, mixed(base, window))
        network = reference.State(build(genome), 1)
        for _ in range(self.recipe.task.ticks):
            network.step(np.array([[flight.observe()]], np.int64))
            flight.answer(int(network.scores[0, 0]))
        return flight.loss()

    def step(self) -> Generation:
        """One generation, and a validation where it is due."""
        recipe = self.recipe
        if self.generation == 0:
            self._validate()
        seeds = [self.seed_of(k) for k in range(recipe.candidates)]
        losses = [self.judge(self.shares(seed), Role.TRAIN) for seed in seeds]
        order = sorted(range(recipe.candidates), key=lambda k: losses[k])[: recipe.winners]
        self.loss = losses[order[0]]
        if recipe.strategy == ONE_PLUS:
            parent = self.judge(self.shares(None), Role.TRAIN)
            order = [k for k in order if losses[k] < parent]
        winners = tuple(seeds[k] for k in order)
        self.replay(winners)
        line = Generation(self.generation, self.loss / 65536, self.validation, winners)
        last = self.generation == recipe.generations
        if last or self.generation % recipe.validate_every == 0:
            self._validate()
        return line

    def _validate(self) -> None:
        found = self.judge(self.shares(None), Role.VALIDATE)
        self.validation = found / 65536
        if found < self.best_loss:
            self.best_loss, self.best = found, [share(m) for m in self.mean]

    def replay(self, winners: tuple[int, ...]) -> None:
        """The next mean and step sizes, from the seeds of the winners alone."""
        recipe = self.recipe
        weights = recipe.weights
        for k in range(len(self.mean)):
            draws = [gauss(seed, k) for seed in winners]
            pairs = list(zip(weights, draws, strict=False))
            shift = sum(w * offset(self.sigma[k], g) for w, g in pairs) >> 15
            if recipe.strategy == ONE_PLUS:
                spread = recipe.rate_q16 if winners else -(recipe.rate_q16 // 4)
            else:
                spread = sum(w * (g * g - VARIANCE) for w, g in pairs) >> 15
                spread = spread * recipe.rate_q16
                spread = abs(spread) // (2 * VARIANCE) * (1 if spread >= 0 else -1)
            self.mean[k] = max(0, min(ONE, self.mean[k] + shift))
            grown = self.sigma[k] * exponential(spread) >> 16
            least = max(1, round(recipe.least_sigma * ONE))
            self.sigma[k] = max(least, min(ONE // 4, grown))
        self.generation += 1


def gauss(seed: int, k: int) -> int:
    """About normal, variance 21845."""
    return sum(mixed(seed, k).to_bytes(4, "little")) - 510


def offset(sigma: int, g: int) -> int:
    """`sigma * z`, rounded down."""
    return sigma * g * SCALE >> 16


def share(x: int) -> int:
    """Back from a bound into 0..2^24, and to Q16."""
    x = -x if x < 0 else 2 * ONE - x if x > ONE else x
    return min(65535, max(0, min(ONE, x)) >> 8)


def exponential(x: int) -> int:
    """exp(x), Q16, for -1/2..1/2, by three terms."""
    t = max(-32768, min(32768, x))
    square = t * (t >> 1) >> 15
    cube = square * t >> 16
    return 65536 + t + _towards_zero(square, 2) + _towards_zero(cube, 6)


def _towards_zero(x: int, y: int) -> int:
    return abs(x) // y * (1 if x >= 0 else -1)


def random_genome(design: Design, seed: int) -> Genome:
    """Genes drawn uniformly between their bounds, as the paper starts.

    Thresholds are drawn from the lowest tenth, or next to no neuron would ever spike.
    """
    rng = np.random.default_rng(seed)
    parts: list[npt.NDArray[np.int64]] = []
    for run in layout(design):
        low, high = run.low, run.high
        if run.kind is Kind.THRESHOLD:
            high = low + (high - low) // 10
        parts.append(rng.integers(low, high + 1, run.count))
    return Genome(design, np.concatenate(parts))
