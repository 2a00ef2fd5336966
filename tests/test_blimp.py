"""Blimp controllers: built, flown, evolved and replayed; the device's integers are the host's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgesnn import blob, reference, runtime
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
