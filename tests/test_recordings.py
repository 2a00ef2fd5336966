"""Recordings of real sensors in every layout: what is read, what is said, what is refused."""

from __future__ import annotations

import importlib.util
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.cli import main
from edgesnn.devices.recordings import basic_motions
from edgesnn.errors import EdgesnnError, FormatError, MissingError
from edgesnn.recordings import Fitted, Recording, Wanted, fit, read
from edgesnn.zoo.basicmotions import CHECKPOINT

SHARED = Callable[[str], Path]
G = 9.80665


def aeon(name: str) -> Path:
    spec = importlib.util.find_spec("aeon")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data" / name


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def fitted(path: Path, wanted: Wanted | None = None, **model: object) -> Fitted:
    return fit(path, read(path), wanted or Wanted(), **model)  # type: ignore[arg-type]


# --- what is read


def test_csv_names_time_units_labels_and_recordings(tmp_path: Path) -> None:
    text = (
        "time [ms],ax [g],ay (g),activity\n0,0.5,1,sit\n10,0.25,2,sit\n20,0,3,walk\n30,1,4,walk\n"
    )
    first, second = read(write(tmp_path / "x.csv", text))
    assert (first.label, second.label) == ("sit", "walk")
    assert first.units == ("g", "g")
    np.testing.assert_array_equal(first.signal, [[0.5, 1], [0.25, 2]])
    assert first.time is not None
    np.testing.assert_allclose(first.time, [0, 0.01])
    (plain,) = read(write(tmp_path / "y.csv", "1;2;3\n4;5;6\n"))
    np.testing.assert_array_equal(plain.signal, [[1, 2, 3], [4, 5, 6]])
    assert (plain.time, plain.units, plain.label) == (None, (), "")


@given(
    st.integers(1, 4).flatmap(
        lambda channels: st.lists(
            st.lists(
                st.floats(allow_nan=False, allow_infinity=False), min_size=channels,
                max_size=channels,
            ),
            min_size=1, max_size=20,
        )
    )
)  # fmt: skip
def test_csv_keeps_every_bit_of_a_number(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[float]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_text("".join(",".join(map(repr, row)) + "\n" for row in rows))
    (recording,) = read(path)
    np.testing.assert_array_equal(recording.signal, rows)


def test_a_blimps_flight_in_csv(shared_data: SHARED) -> None:
    (flight,) = read(shared_data("blimp/gonzalez_blimp_sysid_data1.csv"))
    assert flight.signal.shape[1] == 2
    assert flight.time is not None
    said = fit(Path("flight.csv"), [flight], Wanted(steps=100)).said
    assert "2 channels (units unknown), 29.99 Hz" in said[0]
    assert "jitter" in said[1]


def test_a_watchs_recordings_in_npz(shared_data: SHARED) -> None:
    path = shared_data("wisdm_watch/wisdm_watch_hand.npz")
    recordings = read(path)
    assert len(recordings) == 254
    assert {len(r.signal[0]) for r in recordings} == {6}
    assert sum(len(r.signal) for r in recordings) == 914994
    assert len({r.label for r in recordings}) == 7
    wanted = Wanted(steps=200, units=("m/s^2",) * 3 + ("rad/s",) * 3, recorded_hz=20.0)
    pieces = fit(path, recordings, wanted)
    assert pieces.signal.shape[1:] == (200, 6)
    assert "(m/s^2, rad/s), 20 Hz" in pieces.said[0]
    left = sum(len(r.signal) % 200 for r in recordings)
    assert pieces.said[-1] == (
        f"cut into {len(pieces.signal)} pieces of 200 steps; {left} steps left out"
    )


def test_wisdms_raw_text(tmp_path: Path, shared_data: SHARED) -> None:
    """The layout of the published files, holding what its authors measured."""
    held = np.load(shared_data("wisdm_watch/wisdm_watch_hand.npz"))
    signal = held["signal"][:100, :3]
    lines = [
        f"1600,{'F' if k < 60 else 'G'},{252207666810782 + 50_000_000 * k},"
        f"{','.join(repr(float(v)) for v in step)};\n"
        for k, step in enumerate(signal)
    ]
    path = write(tmp_path / "data_1600_accel_watch.txt", "".join(lines))
    first, second = read(path)
    assert (first.label, len(first.signal), second.label, len(second.signal)) == ("F", 60, "G", 40)
    assert first.units == ("m/s^2",) * 3
    np.testing.assert_array_equal(np.concatenate([first.signal, second.signal]), signal)
    assert "20 Hz" in fit(path, [first], Wanted()).said[0]


def test_ts_and_arff_hold_the_same_recordings() -> None:
    ts = read(aeon("GunPoint/GunPoint_TRAIN.ts"))
    arff = read(aeon("GunPoint/GunPoint_TRAIN.arff"))
    assert len(ts) == len(arff) == 50
    for one, other in zip(ts, arff, strict=True):
        assert one.label == other.label
        np.testing.assert_allclose(one.signal, other.signal)


def test_arff_with_a_step_a_line(tmp_path: Path) -> None:
    text = (
        "@relation x\n@attribute ax numeric\n@attribute ay numeric\n"
        "@attribute activity {sit,walk}\n@data\n1,2,sit\n3,4,sit\n5,6,walk\n"
    )
    sit, walk = read(write(tmp_path / "x.arff", text))
    np.testing.assert_array_equal(sit.signal, [[1, 2], [3, 4]])
    assert (sit.label, walk.label) == ("sit", "walk")


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_wav_of_every_width(tmp_path: Path, width: int) -> None:
    top = (1 << 8 * width - 1) - 1
    values = [0, 1, -1, top, -top - 1, top // 3]
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(8000)
        offset = 128 if width == 1 else 0
        file.writeframes(
            b"".join((v + offset).to_bytes(width, "little", signed=width > 1) for v in values)
        )
    (sound,) = read(tmp_path / "x.wav")
    assert (sound.rate_hz, sound.units) == (8000, ("full scale",) * 2)
    np.testing.assert_array_equal(sound.signal.ravel(), np.array(values) / (top + 1))


def test_a_spoken_digit_in_wav(tmp_path: Path, shared_data: SHARED) -> None:
    held = np.load(shared_data("fsdd/fsdd_8k_int16.npz"))
    pcm = held["pcm"][: held["offset"][1]]
    with wave.open(str(tmp_path / "zero.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    (spoken,) = read(tmp_path / "zero.wav")
    np.testing.assert_array_equal(spoken.signal[:, 0] * 32768, pcm)


# --- what is done, and said


def test_nothing_is_done_or_said_unasked(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(3, 5, 2))
    np.save(tmp_path / "x.npy", array)
    done = fitted(tmp_path / "x.npy", units=("m/s^2", "m/s^2"), step_us=100_000)
    np.testing.assert_array_equal(done.signal, array)
    assert done.said == ()


def test_units_become_the_models(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "ax [g],rx [deg/s]\n1,180\n-2,90\n")
    done = fitted(path, units=("m/s^2", "rad/s"))
    np.testing.assert_allclose(done.signal[0], [[G, np.pi], [-2 * G, np.pi / 2]])
    assert done.said[1:] == (
        "channel 0 converted from g to m/s^2: × 9.80665",
        "channel 1 converted from deg/s to rad/s: × 0.0174533",
    )
    with pytest.raises(FormatError, match=r"channel 0 is in g and the model takes rad/s"):
        fitted(path, units=("rad/s", "rad/s"))


def stamped(times: list[float], tmp_path: Path) -> Path:
    rows = "".join(f"{t!r},{k}\n" for k, t in enumerate(times))
    return write(tmp_path / "x.csv", f"time [s],x\n{rows}")


def test_gaps_and_jitter_are_kept_and_said(tmp_path: Path) -> None:
    times = [0.1 * k + (0.02 if k % 2 else 0.0) for k in range(10)]
    times += [t + 3.0 for t in times]
    path = stamped(times, tmp_path)
    done = fitted(path)
    assert "jitter 22.2 ms at p99, 1 gap, the longest of 2.08 s before step 10" in done.said[1]
    np.testing.assert_array_equal(done.signal[:, :, 0], np.arange(20).reshape(2, 10))
    with pytest.raises(FormatError, match=r"the parts between gaps in .* are 10 to 12 steps long"):
        fitted(stamped([*times, times[-1] + 0.08, times[-1] + 0.2], tmp_path))


def test_time_that_goes_back_is_a_break(tmp_path: Path) -> None:
    done = fitted(stamped([0, 1, 2, 3, 1, 2, 3, 4], tmp_path))
    assert done.signal.shape == (2, 4, 1)
    assert "1 gap" in done.said[1]


@given(
    intervals=st.lists(st.sampled_from([0.1, 0.1, 0.1, 0.1, 0.1, 0.11, 0.09, 0.5]), min_size=6),
    steps=st.integers(1, 4),
)
def test_no_piece_runs_across_a_gap(intervals: list[float], steps: int) -> None:
    time = np.cumsum([0.0, *intervals])
    recording = Recording(np.arange(len(time))[:, None], 10.0, time)
    try:
        pieces = fit(Path("x"), [recording], Wanted(steps=steps)).signal[:, :, 0]
    except FormatError:
        return
    assert pieces.shape[1] == steps
    for piece in pieces:
        np.testing.assert_array_equal(np.diff(piece), 1)
        assert np.all(np.diff(time[piece]) < 0.15)


def test_resampling_keeps_a_slow_wave_and_removes_a_fast_one(tmp_path: Path) -> None:
    time = np.arange(2000) / 100
    slow, fast = np.sin(2 * np.pi * 0.5 * time), np.sin(2 * np.pi * 43 * time)
    recording = Recording(np.stack([slow, fast], axis=1), 100.0, time)
    done = fit(Path("x"), [recording], Wanted(resample=True), step_us=100_000)
    assert done.signal.shape == (1, 200, 2)
    at = np.arange(200) / 10
    inside = slice(20, -20)
    np.testing.assert_allclose(
        done.signal[0, inside, 0], np.sin(2 * np.pi * 0.5 * at)[inside], atol=0.02
    )
    assert np.abs(done.signal[0, inside, 1]).max() < 0.02
    assert "resampled from 100 to 10 Hz" in done.said[-1]


def test_another_rate_is_pointed_out(tmp_path: Path) -> None:
    done = fitted(stamped([0.05 * k for k in range(9)], tmp_path), step_us=100_000)
    assert done.said[-1] == (
        "the model takes a frame every 100 ms, the recordings have one every 50 ms: --resample "
        "fits them"
    )


# --- on the command line


def edgesnn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_same_recordings_in_other_files_give_the_same_answers(tmp_path: Path) -> None:
    """BasicMotions as .ts, and as a .csv in g and degrees whose labels count as well."""
    test = basic_motions("test")
    ts = aeon("BasicMotions/BasicMotions_TEST.ts")
    done = edgesnn("convert", CHECKPOINT, "-o", tmp_path / "m.esnn", "--calibrate",
                   aeon("BasicMotions/BasicMotions_TRAIN.ts"))  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "accuracy on these recordings" in done.output
    columns = [f"{a}{x} [{u}]" for a, u in (("a", "g"), ("r", "deg/s")) for x in "xyz"]
    scale = np.array([G] * 3 + [np.pi / 180] * 3)
    lines = [",".join(["t_ms", "recording", "label", *columns])]
    for k, (sample, label) in enumerate(zip(test.signal, test.label, strict=True)):
        for n, step in enumerate(sample / scale):
            numbers = ",".join(f"{v:.17g}" for v in step)
            lines.append(f"{100 * n},{k},{test.classes[label]},{numbers}")
    csv = write(tmp_path / "x.csv", "\n".join(lines))
    model = tmp_path / "m.esnn"
    one = edgesnn("run", model, "--input", ts)
    two = edgesnn("run", model, "--input", csv)
    assert one.exit_code == two.exit_code == 0, one.output + two.output
    assert one.stdout == two.stdout
    assert "accuracy" in one.stdout
    assert "converted from g to m/s^2" in two.stderr
    assert "10 Hz" in two.stderr
    board = edgesnn("verify", model, "--input", csv, "--json")
    assert board.exit_code == 0, board.output


REFUSED: list[tuple[str, str | bytes, str]] = [
    ("x.csv", "", "holds no numbers"),
    ("x.csv", "time [ms],x\n", "holds no numbers"),
    ("x.csv", "x,y\n1,2\n1\n", "line 3: 1 columns where 2 were expected"),
    ("x.csv", "x,y\n1,2\n1,\n", "line 3: column 'y' is empty, no number: mend or remove"),
    ("x.csv", "x,y\n1,2\n1,nan\n", "line 3: column 'y' is 'nan', no number"),
    ("x.csv", "timestamp,x\n1,2\n", "column 'timestamp' does not say its unit: name it 'timestam"),
    ("x.csv", "time [s],label\n1,a\n", "has no column with a channel"),
    ("x.csv", b"\xff\xfe\x00", "is not UTF-8 text"),
    ("x.txt", "", "holds no 'subject,class,nanoseconds,x,y,z;'"),
    ("x.txt", "33,Jogging,49105962326000,-0.69,12.68,0.5;\n33,Jogging,4,1,2;\n", "line 2: '33,Jo"),
    ("x.txt", "33,Jogging,1.5,1,2,3;", "line 1:"),
    ("x.arff", "nothing", "is no ARFF table"),
    ("x.arff", "@relation x\n@attribute a numeric\n@data\n1\n?\n", "row 2 of the data: a is miss"),
    ("x.arff", "@relation x\n@attribute a {b}\n@data\nb\n", "holds no numbers"),
    ("x.wav", b"RIFF", "is no WAV file of integers"),
    ("x.wav", b"", "is no WAV file of integers (it is cut short)"),
    ("x.ts", "@data\n", "has no sample after '@data'"),
    ("x.npz", b"PK", "is not a .npz file"),
    ("x.npy", b"nothing", "is not a .npy file"),
    ("x.dat", "1,2", "no reader takes"),
]


@pytest.mark.parametrize(("name", "content", "words"), REFUSED)
def test_a_bad_file_is_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(EdgesnnError) as raised:
        read(path)
    sentence = str(raised.value)
    assert words in sentence
    assert name in sentence
    assert "\n" not in sentence


def test_relational_arff_points_to_ts() -> None:
    with pytest.raises(FormatError, match=r"relational attributes: give the \.ts file"):
        read(aeon("BasicMotions/BasicMotions_TRAIN.arff"))


def test_a_wav_of_floats_is_refused(tmp_path: Path) -> None:
    body = b"fmt " + struct.pack("<IHHIIHH", 16, 3, 1, 8000, 32000, 4, 32) + b"data\0\0\0\0"
    (tmp_path / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body)
    with pytest.raises(FormatError, match=r"no WAV file of integers \(unknown format: 3\): save"):
        read(tmp_path / "x.wav")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros(3)}, "holds no array 'signal' but x: rename it"),
        ({"signal": np.zeros(3)}, "of shape (3,)"),
        ({"signal": np.zeros((4, 2)), "offset": np.array([0, 5])}, "offset must rise from 0 to "),
        ({"signal": np.zeros((1, 4, 2)), "time": np.zeros(4)}, "time has shape (4,), not (1, 4)"),
        ({"signal": np.zeros((1, 4, 2)), "label": np.zeros(2)}, "2 labels for 1 recordings"),
        ({"signal": np.zeros((1, 4, 2)), "units": np.array(["g"])}, "1 units for 2 channels"),
        (
            {"signal": np.zeros((1, 4, 2)), "label": np.array([2]), "classes": np.array(["a"])},
            "a label is no index into classes",
        ),
    ],
)
def test_a_bad_archive_is_one_sentence(
    tmp_path: Path, arrays: dict[str, np.ndarray], words: str
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(FormatError) as raised:
        read(tmp_path / "x.npz")
    assert words in str(raised.value)


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    path = stamped([0.1 * k for k in range(9)], tmp_path)
    cases = [
        (Wanted(steps=20), {}, "has no piece of 20 steps without a gap: give at most 9"),
        (Wanted(units=("g", "g")), {}, "has 1 channels and --units names 2"),
        (Wanted(resample=True), {}, "the model does not say how often it takes a frame"),
    ]
    for wanted, model, words in cases:
        with pytest.raises(FormatError, match=words):
            fitted(path, wanted, **model)
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 1)))
    with pytest.raises(FormatError, match=r"does not say its sampling rate: give it with --rec"):
        fitted(tmp_path / "x.npy", Wanted(resample=True), step_us=1000)
    with pytest.raises(MissingError, match=r"there is no file"):
        read(tmp_path / "none.csv")
