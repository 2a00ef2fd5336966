"""Blimp controllers: built, flown, evolved and replayed; the device's integers are the host's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgesnn import _core, blob, reference, runtime
from edgesnn.blimp import course, data, judge, start, table
from edgesnn.blimp import task as tasks
from edgesnn.blimp.controllers import (
    ADAPTIVE,
    DESIGNS,
    Design,
    Genome,
    Kind,
    build,
    layout,
    model,
)  # fmt: skip
from edgesnn.blimp.evolution import (
    ONE_PLUS,
    SEPARABLE,
    Native,
    Recipe,
    Reference,
    State,
    random_genome,
)
from edgesnn.blimp.loop import fly_in_loop
from edgesnn.blimp.task import D, Flier, Flight, I, P, Role, Task
from edgesnn.cli import main
from edgesnn.devices.backend import open_board
from edgesnn.devices.qemu import firmware_path
from edgesnn.errors import FormatError, MismatchError, MissingError, ModelError
from edgesnn.zoo.blimp import RESULTS

OVER = course.ground(made_up=True)
SHORT = replace(OVER.task, ticks=60, windows=(2, 1, 1))
FLOWN = tasks.loosened(replace(SHORT, flier=Flier.NETWORK, hold=(20, 40)))
OFFSET = (-70_000, 70_000)


def recipe(design: str = "pd", task: Task = SHORT, **more: object) -> Recipe:
    given = {"candidates": 4, "winners": 2, "generations": 3, "validate_every": 2, "sigma": 0.05}
    return Recipe(DESIGNS[design], task, seed=5, **{**given, **more})  # type: ignore[arg-type]


# ---- controllers ----


@pytest.mark.parametrize(("name", "genes"), [("pd", 301), ("i", 381), ("full", 682)])
def test_a_controller_is_an_ordinary_graph(name: str, genes: int) -> None:
    genome = random_genome(DESIGNS[name], 1)
    graph = build(genome)
    assert len(genome.values) == genes
    assert sum(p.size for p in graph.populations if "coding" in p.name or "hidden" in p.name) == (
        160 if name == "full" else 80
    )
    errors = np.random.default_rng(1).integers(-150, 150, (2, 80, 1)).astype(np.int16)
    expected = reference.run(graph, errors)
    assert np.array_equal(expected.digests, runtime.run(blob.pack_image(graph), errors).digests)
    assert blob.unpack(blob.pack(graph)).graph == graph


def test_recurrent_and_adaptive_variants_are_computed_alike() -> None:
    for adaptive in (False, True):
        design = Design(adaptive=(adaptive, True), recurrent=(True, False))
        graph = build(random_genome(design, 3))
        errors = np.random.default_rng(1).integers(-150, 150, (1, 80, 1)).astype(np.int16)
        expected = reference.run(graph, errors)
        assert np.array_equal(expected.digests, runtime.run(blob.pack_image(graph), errors).digests)


def test_incoming_spikes_raise_the_threshold_and_no_others() -> None:
    graph = build(start.integral(ADAPTIVE))
    into = graph.into("i hidden")
    assert [(p.source, p.port.name) for p in into] == [
        ("i encoding", "CURRENT"), ("i traces", "THRESHOLD"),
    ]  # fmt: skip
    assert [p.source for p in graph.into("i traces")] == ["i encoding"]


def test_a_hidden_membrane_holds_the_integral() -> None:
    """Errors to one side latch neurons, one after the other; a silence changes nothing."""
    errors = np.zeros((1, 400, 1), np.int16)
    errors[0, 20:120], errors[0, 220:320] = 60, -60  # cm
    outputs = reference.steps(build(start.integral()), errors)
    command = np.array([int(state.scores[0, 0]) for state in outputs])
    assert (np.diff(command[20:120]) >= 0).all()
    assert command[120:220].std() < 0.05 * command[119]
    # 0.75 * 0.6 m * 10 s, of which ten levels of 6 / 32 / (1 - 0.3) carry 2.7
    assert 2.6 * 256 < command[219] < 2.8 * 256
    assert abs(command[399]) < 0.25 * 256


def test_a_genome_out_of_bounds_or_of_another_length_is_refused() -> None:
    genome = random_genome(DESIGNS["pd"], 1)
    with pytest.raises(ModelError, match="has 300 genes, this design takes 301"):
        Genome(genome.design, genome.values[1:])
    genome.values[0] = 200
    with pytest.raises(ModelError, match="encoding weights of a genome are not in"):
        Genome(genome.design, genome.values)


# ---- the task ----


def test_gains_are_those_of_the_flight_logs() -> None:
    flight = Flight(OVER.task, OVER.track, Role.TRAIN, 1)
    flight.error, flight.tick = 52, 1
    flight.hold_start, flight.hold_ticks = 0, 100
    flight.reference = flight.next_reference = 53 + flight._altitude()
    assert flight.observe() == 53
    assert flight.terms[P] / 256 == pytest.approx(4.77, abs=0.01)  # e = 0.53 m
    assert flight.terms[D] / 256 == pytest.approx(1.4, abs=0.01)  # a centimetre in a tick
    flight.integral = 1000 - 53
    flight.observe()
    assert flight.terms[I] / 256 == pytest.approx(0.75, abs=0.01)  # after 1 m s


@pytest.mark.parametrize(
    "task",
    [
        SHORT,
        replace(SHORT, flier=Flier.PID, target=I, buoyancy=OFFSET, hold=(20, 40)),
        replace(FLOWN, helper=P | D | I, overshoot_weight=1, buoyancy=OFFSET),
        replace(FLOWN, script=(50, 150, 50)),
    ],
)
def test_the_device_flies_as_the_plain_twin(task: Task) -> None:
    image = blob.pack_image(build(start.integral()))
    for seed in range(3):
        flown = tasks.fly(image, task, OVER.track, Role.TRAIN, seed)
        flight = Flight(task, OVER.track, Role.TRAIN, seed)
        for tick in range(task.ticks):
            assert flight.observe() == flown.columns["error"][tick]
            flight.answer(int(flown.columns["network"][tick]))
        assert flight.loss() / 65536 == flown.loss


def test_the_loss_of_a_mimic_is_the_papers() -> None:
    flight = Flight(OVER.task, OVER.track, Role.TRAIN, 1)
    rng = np.random.default_rng(1)
    flight.pairs = [(int(x), int(x) // 2 + 30) for x in rng.integers(-2000, 2000, 300)]
    x, y = np.array(flight.pairs).T / 256
    assert flight.loss() / 65536 == pytest.approx(judge.loss(x, y), abs=1e-3)
    flight.pairs = [(0, y) for _, y in flight.pairs]
    assert flight.loss() / 65536 == pytest.approx(1 + 0.33 * np.abs(y).mean(), abs=1e-3)


def test_windows_of_one_role_are_none_of_another() -> None:
    for role in Role:
        first, length = next((s, n) for s, n, r in OVER.segments if r == role)
        for seed in range(50):
            begin = Flight(SHORT, OVER.track, role, seed).start
            assert first <= begin <= begin + SHORT.ticks <= first + length


def test_late_and_bunched_samples_go_on_a_grid() -> None:
    times = np.arange(0, 20, 0.1)
    late = np.where((times > 5) & (times < 5.35), 5.35, times)  # a stall, then four at once
    steady = data.record(times, 1 + times / 10)
    assert steady.tolist() == [round(100 + t) for t in range(200)]
    assert np.abs(data.record(late, 1 + times / 10) - steady).max() <= 3
    jittered = times + np.random.default_rng(1).uniform(-0.04, 0.04, times.size)
    assert (
        np.abs(data.record(np.maximum(jittered, 0), 1 + times / 10)[:190] - steady[:190]).max() < 3
    )


@pytest.mark.parametrize("design", [DESIGNS["i"], ADAPTIVE], ids=["recurrent", "adaptive"])
def test_the_designed_i_network_carries_an_offset(design: Design) -> None:
    image = blob.pack_image(build(start.integral(design)))
    answer = judge.fly_steps(image, OVER, judge.STEPS, course.OFFSET, P | D)
    alone = judge.fly_steps(None, OVER, judge.STEPS, course.OFFSET, P | D)
    assert answer.steady < 2 < alone.steady  # cm


def test_recorded_flights_have_the_length_and_the_error_that_is_told() -> None:
    try:
        tracks = data.tracks()
    except MissingError as error:
        pytest.skip(str(error))
    assert sum(len(t) for t in tracks) == 14_690
    over = course.ground()
    assert sum(t.ticks for t in over.tests()) == 5000
    assert all(r in {r for _, _, r in over.segments} for r in Role)


def test_missing_flights_are_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGESNN_DATA", str(tmp_path))
    with pytest.raises(MissingError, match="there are no recorded flights at"):
        data.flights()


# ---- evolution ----


@pytest.mark.parametrize(
    ("design", "task", "strategy"),
    [
        ("pd", SHORT, SEPARABLE),
        ("pd", SHORT, ONE_PLUS),
        ("i", replace(SHORT, flier=Flier.PID, target=I, buoyancy=OFFSET), SEPARABLE),
        ("full", replace(FLOWN, buoyancy=OFFSET), SEPARABLE),
    ],
)
def test_evolution_in_slices_is_the_plain_twins(design: str, task: Task, strategy: int) -> None:
    chosen = recipe(design, task, strategy=strategy, winners=2 if strategy == SEPARABLE else 1)
    first = random_genome(chosen.design, 3)
    native, twin = Native(chosen, OVER.track, first), Reference(chosen, OVER.track, first)
    for line in native.generations(ticks=37):
        expected = twin.step()
        assert line == expected
        assert np.array_equal(native.state.mean, twin.mean)
        assert np.array_equal(native.state.sigma, twin.sigma)
    state = native.state
    assert np.array_equal(state.shares, twin.best)
    assert state.best == twin.best_loss / 65536
    assert state.test == twin.judge(np.array(twin.best), Role.TEST) / 65536
    assert native.image == blob.pack_image(build(native.genome()))


def test_winners_seeds_alone_make_the_course_anew() -> None:
    chosen, first = recipe(generations=6), random_genome(DESIGNS["pd"], 3)
    native = Native(chosen, OVER.track, first)
    log = list(native.generations())
    done = course.Done(
        course.phases("pd", OVER)[0], chosen, first, native.genome(), log, native.state
    )
    course.replay(done, OVER.track)
    done.log[2] = replace(done.log[2], winners=done.log[2].winners[::-1])
    with pytest.raises(MismatchError, match="do not lead to where it ended"):
        course.replay(done, OVER.track)


def test_a_restart_loses_the_generation_under_way_and_changes_nothing() -> None:
    chosen, first = recipe(generations=5), random_genome(DESIGNS["pd"], 3)
    whole = Native(chosen, OVER.track, first)
    list(whole.generations())
    cut = Native(chosen, OVER.track, first)
    for _ in range(40):
        cut.run(61)  # in the middle of anything
        cut = Native(chosen, OVER.track, first, cut.state.data)
        if cut.state.finished:
            break
        cut.run(100_000)
    assert cut.state.data == whole.state.data


def test_evolution_improves_on_a_random_start() -> None:
    chosen = replace(recipe(generations=40), sigma=0.1, candidates=12, winners=6)
    native = Native(chosen, OVER.track, random_genome(DESIGNS["pd"], 3))
    losses = [line.validation for line in native.generations()]
    assert native.state.best < losses[0] - 0.2


def test_frozen_genes_stay() -> None:
    frozen = tuple(r.name for r in layout(DESIGNS["full"]) if r.name.startswith("i "))
    first = random_genome(DESIGNS["full"], 3)
    native = Native(recipe("full", FLOWN, frozen=frozen), OVER.track, first)
    list(native.generations())
    before, after = first.named(), native.genome().named()
    assert all(np.array_equal(before[name], after[name]) for name in frozen)


def test_damaged_states_and_recipes_are_refused() -> None:
    native = Native(recipe(), OVER.track, random_genome(DESIGNS["pd"], 3))
    data = bytearray(native.state.data)
    data[60] ^= 1
    with pytest.raises(FormatError, match="is damaged or no state"):
        State.unpack(bytes(data))
    for bad in (
        replace(SHORT, hold=(0, 5)), replace(SHORT, ticks=9000), replace(SHORT, segments=()),
        replace(SHORT, delay=(3, 1)), replace(SHORT, windows=(0, 1, 1)),
    ):  # fmt: skip
        with pytest.raises(ModelError, match="refuses the recipe"):
            Native(recipe(task=bad), OVER.track, random_genome(DESIGNS["pd"], 3))
    with pytest.raises(ModelError, match="9 winners of 4 candidates cannot be"):
        recipe(winners=9).pack(OVER.track)


def test_bounds_that_an_image_cannot_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import edgesnn.blimp.evolution as evolution

    genome = random_genome(DESIGNS["pd"], 3)
    for kind in Kind:

        def wild(design: Design, kind: Kind = kind) -> tuple[object, ...]:
            return tuple(replace(r, high=1 << 30) if r.kind is kind else r for r in layout(design))

        monkeypatch.setattr(evolution, "layout", wild)
        packed = recipe().pack(OVER.track)
        monkeypatch.undo()
        monkeypatch.setattr(Recipe, "pack", lambda self, track, packed=packed: packed)
        with pytest.raises(ModelError, match="refuses the recipe"):
            Native(recipe(), OVER.track, genome)
        monkeypatch.undo()


# where in a recipe, in words of 32 bits
VERSION, BYTES, STRATEGY, LAMBDA, MU, EVERY, RATE, WEIGHTS = 0, 1, 3, 4, 5, 7, 8, 9
LEAST_SIGMA, RUNS, SAMPLES, RUN, TASK = 41, 42, 43, 44, 44 + 9 * 32
KIND, PART, COUNT, STRIDE, SECOND, MIRROR, LOW, HIGH, SIGMA = range(9)
TICKS, WINDOWS, SCRIPTED, SCRIPT, SEGMENTS = TASK + 7, TASK + 8, TASK + 19, TASK + 20, TASK + 46
WHOLE = {  # the words of a task that is in order wherever these are, from the least to the most
    0: (0, 2), 1: (0, 7), 2: (0, 7), 3: (0, 1 << 24), 4: (0, 1 << 24), 5: (0, 1 << 24),
    6: (0, 1 << 24), 7: (8, 4096), 8: (1, 64), 9: (1, 64), 10: (0, 64), 11: (0, 16), 12: (0, 16),
    15: (0, 256), 16: (0, 1000), 19: (0, 8), 20: (0, 1000), 27: (0, 1000), 28: (0, 32768),
    29: (0, 32768), 30: (0, 32768), 31: (0, 16 << 20), 32: (1, 32768), 33: (0, 1 << 16),
    34: (0, 1 << 16), 35: (0, 9 << 8), 46: (0, 8),
}  # fmt: skip
PAIRS = {  # a least and a most of something that is drawn
    13: (1, 4096), 17: (0, 1000), 36: (-1 << 20, 1 << 20), 38: (1, 32768), 40: (0, 2560),
    42: (0, 7), 44: (0, 100),
}  # fmt: skip


def begins(words: np.ndarray, image: bytes) -> int:
    """The status with which the firmware begins an evolution by a recipe, word by word."""
    ffi, lib = _core.ffi, _core.lib
    memory = [ffi.new("uint32_t[]", n) for n in (len(words), (len(image) + 3) // 4, 4096, 8192)]
    ffi.memmove(memory[0], words.astype("<i4").tobytes(), 4 * len(words))
    ffi.memmove(memory[1], image, len(image))
    return int(
        lib.evolve_begin(
            ffi.new("evolution *"), ffi.cast("evolve_recipe *", memory[0]), 4 * len(words),
            ffi.cast("uint8_t *", memory[1]), len(image),
            ffi.cast("evolve_state *", memory[2]), memory[3], 4 * 8192,
        )
    )  # fmt: skip


def words_of(design: str = "pd") -> tuple[np.ndarray, bytes]:
    """A recipe all of whose ranges are as wide as they may be, and the image that it is for."""
    task = replace(FLOWN, script=(0,) * 8, windows=(1, 1, 1))
    words = np.frombuffer(recipe(design, task).pack(OVER.track), "<i4").astype(np.int64)
    for at, (low, high) in PAIRS.items():
        words[TASK + at : TASK + at + 2] = low, high
    return words, blob.pack_image(build(random_genome(DESIGNS[design], 3)))


def changed(words: np.ndarray, *changes: tuple[int, int]) -> np.ndarray:
    found = words.copy()
    for at, value in changes:
        found[at] = value
    return found


@pytest.mark.parametrize("at", [*WHOLE, *PAIRS])
def test_every_number_of_a_task_has_its_bounds(at: int) -> None:
    words, image = words_of()
    low, high = WHOLE.get(at) or PAIRS[at]
    for place in (at,) if at in WHOLE else (at, at + 1):
        for value in (low, high):
            assert begins(changed(words, (TASK + place, value)), image) == 0
        for value in (low - 1, high + 1):
            assert begins(changed(words, (TASK + place, value)), image) == -7
    if at in PAIRS:
        crossed = (TASK + at, high), (TASK + at + 1, low)
        assert begins(changed(words, *crossed), image) == -7


@pytest.mark.parametrize(
    "changes",
    [
        [(TICKS, 1)], [(TICKS, 5), (SCRIPTED, 6)], [(SEGMENTS + 1, -1)], [(SEGMENTS + 2, -1)],
        [(SEGMENTS + 1, 1 << 20)], [(SEGMENTS + 2, (1 << 20) + 1)], [(SEGMENTS + 3, 3)],
        [(SEGMENTS + 3, -1)], [(SEGMENTS + 1, 2000), (SEGMENTS + 2, 1 << 20)],
        [(TASK, 0), (SEGMENTS + 2, 5)], [(TASK, 0), (SEGMENTS, 0)],
    ],
)  # fmt: skip
def test_a_task_that_does_not_fit_its_flights_is_refused(changes: list[tuple[int, int]]) -> None:
    words, image = words_of()
    assert begins(words, image) == 0
    assert begins(changed(words, (TASK, 0)), image) == 0  # recorded flights, of all roles
    assert begins(changed(words, *changes), image) == -7


@pytest.mark.parametrize(
    "changes",
    [
        [(VERSION, 0)], [(VERSION, 2)], [(STRATEGY, 2)], [(LAMBDA, 0)], [(LAMBDA, 1)],
        [(LAMBDA, 65)], [(MU, 0)], [(MU, 5)], [(LAMBDA, 64), (MU, 33)], [(EVERY, 0)], [(RATE, -1)],
        [(RATE, 65537)], [(LEAST_SIGMA, 0)], [(LEAST_SIGMA, (1 << 22) + 1)], [(RUNS, 0)],
        [(RUNS, 33)], [(BYTES, 4)], [(SAMPLES, 1 << 20)], [(WEIGHTS, -1), (WEIGHTS + 1, 32769)],
        [(WEIGHTS, 32769), (WEIGHTS + 1, -1)], [(WEIGHTS, 32768), (WEIGHTS + 1, 1)],
    ],
)  # fmt: skip
def test_a_recipe_out_of_its_bounds_is_refused(changes: list[tuple[int, int]]) -> None:
    words, image = words_of()
    assert begins(changed(words, (LAMBDA, 64)), image) == 0
    assert begins(changed(words, (RATE, 65536), (LEAST_SIGMA, 1 << 22)), image) == 0
    assert begins(changed(words, *changes), image) == -7


def test_genes_out_of_their_bounds_are_refused() -> None:
    words, image = words_of("full")
    runs = layout(DESIGNS["full"])
    assert begins(words, image) == 0
    wrong = [
        (KIND, 5), (PART, -1), (PART, 99), (COUNT, 0), (COUNT, 1025), (COUNT, 1024), (STRIDE, 0),
        (STRIDE, 65), (SECOND, -1), (SECOND, 65), (MIRROR, -2), (MIRROR, 2), (SIGMA, -1),
        (SIGMA, (1 << 22) + 1), (LOW, 1 << 30), (HIGH, -(1 << 30)), (LOW, -(1 << 30)),
        (HIGH, 1 << 30),
    ]  # fmt: skip
    for k, run in enumerate(runs):
        for what, value in wrong:
            assert begins(changed(words, (RUN + 9 * k + what, value)), image) == -7, (run, what)
        first = [(RUN + 9 * k + PART, 0)] if run.kind is not Kind.WEIGHTS else []
        signs = run.kind in (Kind.WEIGHTS, Kind.BIAS)
        mirrored = [] if signs else [(RUN + 9 * k + MIRROR, -1)]
        for change in (*first, *mirrored):
            assert begins(changed(words, change), image) == -7
    for kind in Kind:  # of an array that this part does not have
        moved = changed(words, (RUN + KIND, int(kind)), (RUN + PART, 1), (RUN + MIRROR, 0))
        assert begins(moved, image) in (0, -7)
    crowd = words.copy()
    crowd[RUN : RUN + 9 * 32] = np.tile(words[RUN : RUN + 9], 32)
    assert begins(changed(crowd, (RUNS, 32), (RUN + COUNT, 8)), image) == (
        -7 if 31 * runs[0].count + 8 > 1024 else 0
    )


def test_only_a_network_of_one_full_channel_evolves() -> None:
    words, image = words_of()
    graph = build(random_genome(DESIGNS["pd"], 3))
    narrow = replace(graph, input=replace(graph.input, bits=15))
    assert begins(words, blob.pack_image(narrow)) == -7
    assert begins(words, image[:-1]) == -5  # what cannot be loaded either


# ---- boards ----


def evolve_on(board: str, task: Task = SHORT) -> None:
    chosen, first = recipe(task=task), random_genome(DESIGNS["pd"], 3)
    host = Native(chosen, OVER.track, first)
    log = list(host.generations())
    with open_board(board) as device:
        runner = course.OnBoard(device, chosen, OVER.track, first, ticks=100)
        generations = runner.generations()
        began = [next(generations)]
        kept = runner.state.data
    with open_board(board) as device:  # as after a reset
        runner = course.OnBoard(device, chosen, OVER.track, first, kept, ticks=500)
        assert [line.winners for line in (*began, *runner.generations())] == [
            line.winners for line in log
        ]
        assert runner.state.data == host.state.data
        script = judge.script(OVER, (50, 60), 0)
        script = replace(script, ticks=60)
        flown = fly_in_loop(device, host.genome(), script, OVER.track, slot=0)
        for seed in (1, 2):  # each model brings a self-test
            design = Design(True, True, (seed == 1, True), (True, seed == 2))
            device.put_model(model(random_genome(design, seed)))
    expected = tasks.fly(host.image, script, OVER.track, Role.TEST, 0).columns
    assert np.array_equal(flown, np.column_stack([expected["error"], expected["network"]]))


def test_a_board_evolves_goes_on_after_a_reset_and_flies_in_the_loop() -> None:
    evolve_on("virtual")


@pytest.mark.board
def test_an_emulated_board_evolves_bit_for_bit() -> None:
    try:
        firmware_path("mps2-an386")
    except MissingError as error:
        pytest.skip(str(error))
    evolve_on("mps2-an386")


def test_a_board_refuses_what_it_cannot_evolve() -> None:
    first = random_genome(DESIGNS["pd"], 3)
    small = "virtual://?model=8192&arena=8192"
    with open_board(small) as board, pytest.raises(ModelError, match=r"do not fit|does not fit"):
        course.OnBoard(board, recipe(), OVER.track, first)
    with open_board("virtual") as board:
        board.put_model(model(first))
        with pytest.raises(ModelError, match="out of order"):
            board.run_evolution(10, 0)
        board.begin_evolution(bytes(2000), 4000, b"", 0)
        with pytest.raises(ModelError, match="recipe of the evolution is damaged"):
            board.run_evolution(10, 0)
        with pytest.raises(ModelError, match="no such slot"):
            board.begin_evolution(bytes(2000), 4000, b"", 3)
        chosen = recipe(
            generations=1, validate_every=5, task=replace(SHORT, segments=((0, 9, Role.TEST),))
        )
        board.put_model(model(random_genome(DESIGNS["pd"], 4)))
        assert board.models().selected == 0
        board.begin_evolution(chosen.pack(OVER.track), 4000, b"", 0)
        assert board.models().selected is None  # its weights are about to change


def test_the_command_evolves_draws_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("scipy")
    call = ["evolve", "--synthetic", "--evaluations", "80", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert "in the loop: 1400 ticks" in done.output
    assert (tmp_path / "out" / "report.png").stat().st_size > 20_000
    assert blob.load(tmp_path / "out" / "pd.esnn").graph.selftest is not None
    again = CliRunner().invoke(main, call)
    assert again.exit_code == 2
    assert "there is an evolution in" in again.output
    assert CliRunner().invoke(main, [*call, "--resume"]).exit_code == 0


def test_the_page_shows_the_results_that_are_kept() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "blimp.md").read_text()
    assert table.table(json.loads(RESULTS.read_text())) in page
