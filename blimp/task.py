"""The task of the altitude controller: what is flown, what is mimicked, how well it is done.

`Flight` says in plain Python what `firmware/app/blimp.c` computes, bit for bit. All integers; one
tick is 0.1 s; `>>` rounds down and `quotient` towards 0. Numbers with 20 binary places (Q20) are
metres, m/s and m/s^2, those with 15 are shares of 1.

**PID** (code units, a command goes from -10 to 10): P = 9 e, D = 14 de/dt, I = 0.75 * integral of e
clamped to +-10 m s, with e the set-point less what a lidar of whole centimetres sees. D acts on the
error, kicks at steps of the set-point included, and is 0 in the first tick.

**Motors**: no thrust for |u| < 0.3; else a duty of int(9 + 3 |u|) / 45 whose thrust is
1.47^2 (duty - 0.092)^2 m/s^2 upwards (an extrapolation of the fitted thrusts to the paper's motor
map, not a measurement) and so many times that downwards as the fit found. A servo turns the motors
over for the other direction; meanwhile there is none.

**Recorded windows**: altitude as recorded; the set-point goes on a line from knot to knot, through
the altitude recorded there, or displaced from it for some.

**Loss** of a mimic (Burgers et al. 2023): mean |u - u*| in the paper's unit (0.33 of ours) plus
1 - Pearson's correlation. Of a network that flies: root mean square of e in m, plus the mean |e| in
the second half of every set-point's time and the mean overshoot of the steps, both weighed.
"""

from __future__ import annotations

import enum
import json
import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesnn import _core, blob
from edgesnn.errors import ModelError
from edgesnn.zoo.blimp import PLANT

COMMAND_ONE = 256
LIMIT = 10 * COMMAND_ONE
METRE = 1 << 20
TICK = 0.1
PAPER_UNIT = 0.33
P, D, I = 1, 2, 4  # noqa: E741
SEGMENTS = SCRIPT = 8
COLUMNS = ("reference", "altitude", "error", "p", "d", "i", "network", "target")


class Flier(enum.IntEnum):
    """Who flies."""

    RECORDED = 0
    PID = 1
    NETWORK = 2


class Role(enum.IntEnum):
    """What a window is for."""

    TRAIN = 0
    VALIDATE = 1
    TEST = 2


Range = tuple[int, int]
Track = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Task:
    """What is to be done, in the firmware's integers (`blimp_task`); see the module.

    Attributes:
        flier: who flies.
        target: terms of the PID that are mimicked.
        helper: terms of the PID that are added to the network's command where it flies.
        ticks: of a window.
        windows: in an evaluation, by role.
        kp, kd, ki: 1/256000 of a command a cm, a cm and tick, a cm and tick.
        integral_limit: cm ticks.
        settled_weight, overshoot_weight: see the module.
        hold: ticks between knots or set-points, drawn.
        displaced, displacement: chance of a knot to be displaced in 1/256, and by how many cm.
        reference: set-points where not recorded, cm, drawn.
        script: set-points of equal length instead.
        drag, quadratic, stiffness, tick: Q15; rest: Q20.
        thrust: up and down, of (1/11520 duty)^2, Q36.
        duty_zero: duty without thrust, 1/11520.
        buoyancy (Q20), lag (Q15), dead (1/256), delay, flip (ticks): drawn for every window.
        segments: start, length and role of each stretch of a track.
    """

    flier: Flier = Flier.RECORDED
    target: int = P | D
    helper: int = 0
    ticks: int = 800
    windows: tuple[int, int, int] = (2, 6, 0)
    kp: int = 23_040
    kd: int = 358_400
    ki: int = 192
    integral_limit: int = 10_000
    settled_weight: int = 1
    overshoot_weight: int = 0
    hold: Range = (40, 100)
    displaced: int = 64
    displacement: int = 100
    reference: Range = (50, 300)
    script: tuple[int, ...] = ()
    drag: int = 0
    quadratic: int = 0
    stiffness: int = 0
    rest: int = 2 * METRE
    tick: int = 3277
    thrust: tuple[int, int] = (0, 0)
    duty_zero: int = 1060
    buoyancy: Range = (0, 0)
    lag: Range = (5390, 5390)
    dead: Range = (77, 77)
    delay: Range = (0, 0)
    flip: Range = (1, 1)
    segments: tuple[tuple[int, int, Role], ...] = field(default=())

    def pack(self) -> bytes:
        """The bytes of the firmware's `blimp_task`.

        Raises:
            ModelError: too many segments or set-points.
        """
        if len(self.segments) > SEGMENTS or len(self.script) > SCRIPT:
            raise ModelError(f"a task has at most {SEGMENTS} segments and {SCRIPT} set-points")
        script = [*self.script, *([0] * SCRIPT)][:SCRIPT]
        rows = [*self.segments, *([(0, 0, 0)] * SEGMENTS)][:SEGMENTS]
        numbers = [
            self.flier, self.target, self.helper, self.kp, self.kd, self.ki, self.integral_limit,
            self.ticks, *self.windows, self.settled_weight, self.overshoot_weight, *self.hold,
            self.displaced, self.displacement, *self.reference, len(self.script), *script,
            self.drag,
            self.quadratic, self.stiffness, self.rest, self.tick, *self.thrust, self.duty_zero,
            *self.buoyancy, *self.lag, *self.dead, *self.delay, *self.flip, len(self.segments),
            *(number for row in rows for number in row),
        ]  # fmt: skip
        return struct.pack(f"<{len(numbers)}i", *map(int, numbers))


def plant() -> dict[str, Any]:
    """The fitted parameters (`Task` fields) of the blimp."""
    p = json.loads(PLANT.read_text())["parameters"]
    down = np.mean([p[f"down{k}"] / p[f"up{k}"] for k in (1, 2, 3)])
    up = (1.47 / (45 * 256)) ** 2 * METRE * 65536
    lag = round(p["lag"] * 32768)
    return {
        "drag": round(p["drag"] * 32768),
        "quadratic": round(p["quadratic"] * 32768),
        "stiffness": round(p["stiffness"] * 32768),
        "thrust": (round(up), round(up * down)),
        "lag": (lag, lag),
    }


def loosened(task: Task) -> Task:
    """The task in a blimp whose lag, dead zone, dead time and servo differ between flights."""
    lag = task.lag[0]
    return replace(
        task, lag=(lag * 3 // 4, lag * 5 // 4), dead=(51, 102), delay=(0, 2), flip=(0, 3)
    )


def quotient(x: int, y: int) -> int:
    """x / y towards 0, as C divides."""
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def clip(x: int, limit: int) -> int:
    """x in -limit..limit."""
    return max(-limit, min(limit, x))


def mixed(seed: int, count: int) -> int:
    """32 bits from a seed and a count: Wellons' lowbias32 of a Weyl sequence."""
    x = (seed + count * 0x9E3779B9) & 0xFFFFFFFF
    x = ((x ^ x >> 16) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ x >> 15) * 0x846CA68B) & 0xFFFFFFFF
    return x ^ x >> 16


class Flight:
    """One window, tick by tick: `observe`, then `answer`.

    Args:
        task: what is flown.
        track: recorded altitudes, cm; of no use where nothing recorded is flown.
        role, seed: they name the window.
    """

    def __init__(self, task: Task, track: Track, role: int, seed: int) -> None:
        self.task, self.track, self.seed = task, track, seed
        self.drawn = self.tick = self.hold_start = self.hold_ticks = 0
        self.reference = self.error = self.change = self.integral = 0
        self.speed = self.thrust = self.flipping = 0
        self.sign = 1
        self.queue = [0] * 8
        self.pairs: list[tuple[int, int]] = []
        self.errors: list[int] = []
        self.settled: list[int] = []
        self.overshoots: list[int] = []
        self.direction = 1
        if task.flier is Flier.RECORDED:
            self.start = self._place(role)
            self.next_reference = int(track[self.start])
            return
        names = ("buoyancy", "lag", "dead", "delay", "flip")
        self.buoyancy, self.lag, self.dead, self.delay, self.flip = (
            self._draw(getattr(task, name)) for name in names
        )
        # a flight by script begins where it is to be
        self.height = task.script[0] * METRE // 100 if task.script else task.rest

    def observe(self) -> int:
        """The error of this tick, cm."""
        task = self.task
        if self.tick >= self.hold_start + self.hold_ticks:
            self._lead() if task.flier is Flier.RECORDED else self._set()
        error = clip(self._setpoint() - self._altitude(), 1000)
        self.change = error - self.error if self.tick > 0 else 0
        self.error = error
        self.integral = clip(self.integral + error, task.integral_limit)
        self.terms = {
            P: quotient(task.kp * error, 1000),
            D: quotient(task.kd * self.change, 1000),
            I: quotient(task.ki * self.integral, 1000),
        }
        return error

    def answer(self, command: int) -> None:
        """What the network answers; the blimp moves on by a tick."""
        task = self.task
        x, y = clip(command, LIMIT), self._sum(task.target)
        if task.flier is Flier.NETWORK:
            self.errors.append(self.error)
            if self.tick - self.hold_start >= self.hold_ticks // 2:
                self.settled.append(abs(self.error))
            if self.tick == self.hold_start:
                self.overshoots.append(0)
                self.direction = -1 if self.error < 0 else 1
            self.overshoots[-1] = max(self.overshoots[-1], -self.direction * self.error)
            self._move(clip(x + self._sum(task.helper), LIMIT))
        else:
            self.pairs.append((x, y))
            if task.flier is Flier.PID:
                self._move(self._sum(P | D | I))
        self.tick += 1

    def loss(self) -> int:
        """Of the ticks so far, Q16."""
        if self.task.flier is Flier.NETWORK:
            rms = root((sum(e * e for e in self.errors) << 20) // len(self.errors))
            settled = (sum(self.settled) << 16) // (100 * len(self.settled)) if self.settled else 0
            over = (sum(self.overshoots) << 16) // (100 * len(self.overshoots))
            weighed = self.task.settled_weight * settled + self.task.overshoot_weight * over
            return rms * 64 // 100 + weighed
        n = len(self.pairs)
        off = sum(abs(x - y) for x, y in self.pairs) * 256 * 33 // (100 * n)
        return off + 65536 - correlation(self.pairs)

    def _draw(self, bounds: Range) -> int:
        span = bounds[1] - bounds[0] + 1
        drawn = bounds[0] + (mixed(self.seed, self.drawn) * span >> 32)
        self.drawn += 1
        return drawn

    def _place(self, role: int) -> int:
        rows = [(s, length - self.task.ticks) for s, length, r in self.task.segments if r == role]
        at = self._draw((0, sum(room for _, room in rows) - 1))
        for start, room in rows:
            if at < room:
                return start + at
            at -= room
        return 0

    def _lead(self) -> None:
        task = self.task
        left = task.ticks - 1 - self.tick
        self.reference, self.hold_start = self.next_reference, self.tick
        self.hold_ticks = self._draw(task.hold)
        if self.hold_ticks > left:
            self.hold_ticks = left if left > 0 else 1
        displaced = self._draw((0, 255)) < task.displaced
        by = self._draw((-task.displacement, task.displacement))
        end = self.tick + self.hold_ticks
        end = end if end < task.ticks else self.tick
        self.next_reference = int(self.track[self.start + end]) + (by if displaced else 0)

    def _set(self) -> None:
        task = self.task
        self.hold_start = self.tick
        if task.script:
            self.hold_ticks = task.ticks // len(task.script)
            self.reference = task.script[min(self.tick // self.hold_ticks, len(task.script) - 1)]
            return
        self.hold_ticks = self._draw(task.hold)
        self.reference = self._draw(task.reference)

    def _setpoint(self) -> int:
        if self.task.flier is not Flier.RECORDED:
            return self.reference
        way = (self.next_reference - self.reference) * (self.tick - self.hold_start)
        return self.reference + quotient(way, self.hold_ticks)

    def _altitude(self) -> int:
        if self.task.flier is Flier.RECORDED:
            return int(self.track[self.start + self.tick])
        return (self.height * 100 + METRE // 2) >> 20

    def _sum(self, terms: int) -> int:
        return clip(sum(value for term, value in self.terms.items() if terms & term), LIMIT)

    def _push(self, command: int) -> int:
        size, sign = abs(command), -1 if command < 0 else 1
        if size < self.dead:
            return 0
        if sign != self.sign:
            self.sign, self.flipping = sign, self.flip
        if self.flipping > 0:
            self.flipping -= 1
            return 0
        above = ((9 + (3 * size >> 8)) << 8) - self.task.duty_zero
        return sign * (above * above * self.task.thrust[sign < 0] >> 16)

    def _move(self, command: int) -> None:
        task = self.task
        self.queue = [command, *self.queue[:-1]]
        self.thrust += (self._push(self.queue[self.delay]) - self.thrust) * self.lag >> 15
        square = self.speed * abs(self.speed) >> 20
        gain = self.thrust - (self.speed * task.drag >> 15) - (square * task.quadratic >> 15)
        gain += self.buoyancy - ((self.height - task.rest) * task.stiffness >> 15)
        self.speed = clip(self.speed + (gain * task.tick >> 15), 8 * METRE)
        self.height = clip(self.height + (self.speed * task.tick >> 15), 64 * METRE)


def root(x: int) -> int:
    """Square root, rounded down."""
    return math.isqrt(x)


def correlation(pairs: list[tuple[int, int]]) -> int:
    """Pearson's, Q16; 0 where one of the two never changes."""
    n = len(pairs)
    sum_x, sum_y = (sum(p[k] for p in pairs) for k in (0, 1))
    x = n * sum(p[0] ** 2 for p in pairs) - sum_x**2
    y = n * sum(p[1] ** 2 for p in pairs) - sum_y**2
    together = n * sum(p[0] * p[1] for p in pairs) - sum_x * sum_y
    both = root(x << 12) * root(y << 12) >> 12
    return 0 if both == 0 else quotient(together * 65536, both)


@dataclass(frozen=True)
class Flown:
    """A window that was flown.

    Attributes:
        columns: int32 a tick, by the names of COLUMNS: cm, cm, cm, and commands in 1/256.
        loss: as `Task` says.
    """

    columns: dict[str, npt.NDArray[np.int32]]
    loss: float

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Of every tick."""
        return np.arange(len(self.columns["error"]), dtype=np.float64) * TICK


def fly(image: bytes | None, task: Task, track: Track, role: int, seed: int) -> Flown:
    """Fly a window in C; without an image the network's command is 0.

    Raises:
        ModelError: the core refuses the image.
    """
    from edgesnn.runtime import _aligned, status_text

    ffi, lib = _core.ffi, _core.lib
    struct_task = ffi.new("blimp_task *")
    ffi.memmove(struct_task, task.pack(), ffi.sizeof("blimp_task"))
    trace = np.zeros((task.ticks, len(COLUMNS)), np.int32)
    loss = ffi.new("uint32_t *")
    track = np.ascontiguousarray(track, np.int16)
    if image is None:
        words, size, arena, room = ffi.NULL, 0, ffi.NULL, 0
    else:
        room = blob.unpack(image).arena_bytes
        words, size, arena = _aligned(image), len(image), ffi.new("uint32_t[]", room // 4)
    status = lib.blimp_fly(
        words, size, arena, room, struct_task, ffi.cast("int16_t *", track.ctypes.data),
        role, seed, ffi.cast("int32_t *", trace.ctypes.data), loss,
    )  # fmt: skip
    if status != 0:
        raise ModelError(f"the core refuses the controller: {status_text(status)}")
    return Flown(dict(zip(COLUMNS, trace.T, strict=True)), int(loss[0]) / 65536)
