"""Sessions: written down as they go, opened after any cut, gone on with, and run again."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from links import Faults, NoisyLink
from soak import MODEL, frames_of

from edgesnn import blob, reference
from edgesnn.cli import main
from edgesnn.devices import Board, Fate, Frame, Stream, open_board, open_transport
from edgesnn.devices import log as log_module
from edgesnn.devices.log import Log, LogWriter, read
from edgesnn.devices.record import record, replay
from edgesnn.errors import DeviceError, FormatError, MismatchError, MissingError, ModelError
from edgesnn.graph import Int16Array

FRAMES = np.stack([frames_of(k, 12) for k in range(3)])


@pytest.fixture(scope="module")
def board() -> Iterator[Board]:
    with open_board("virtual") as board:
        board.put_model(MODEL)
        yield board


def recorded(path: Path, board: Board, frames: Int16Array = FRAMES) -> Log:
    with LogWriter.create(path, MODEL, source="test") as log:
        log.board(board, "virtual://")
        Stream(board, frames, log=log).run()
        log.closed()
    return read(path)


def test_a_session_holds_all_that_happened(tmp_path: Path, board: Board) -> None:
    log = recorded(tmp_path / "a.esnl", board)
    assert (log.closed, log.cut_bytes, log.lost) == (True, 0, [])
    assert log.model.image == MODEL.image
    assert log.session["source"] == "test"
    assert log.boards[0]["name"] == "virtual"
    assert log.boards[0]["firmware"] == board.info.firmware
    expected = reference.run(MODEL.graph, FRAMES)
    assert [recording.number for recording in log.recordings] == [0, 1, 2]
    for sample, recording in enumerate(log.recordings):
        assert recording.complete
        np.testing.assert_array_equal(recording.frames, FRAMES[sample])
        assert (recording.fates == Fate.ANSWERED).all()
        assert (recording.received_us >= recording.sent_us).all()
        digests = [result.digest for result in recording.results if result]
        np.testing.assert_array_equal(digests, expected.digests[sample])


@pytest.mark.parametrize("backend", ["core", "reference"])
def test_a_session_is_run_again_bit_for_bit(tmp_path: Path, board: Board, backend: str) -> None:
    done = replay(recorded(tmp_path / "a.esnl", board), backend)
    assert (done.frames, done.answers, done.different) == (36, 36, [])


@pytest.mark.parametrize("resend", [True, False])
def test_a_session_over_a_bad_link_is_run_again_bit_for_bit(tmp_path: Path, resend: bool) -> None:
    frames = np.stack([frames_of(k, 300) for k in range(4)])
    noise = NoisyLink(open_transport("virtual://"), seed=3)
    with Board(noise) as board, LogWriter.create(tmp_path / "a", MODEL, source="bad link") as log:
        board.put_model(MODEL)
        noise.to_board = noise.to_host = Faults(flip=0.001, drop=0.0005, insert=0.0005)
        session = Stream(board, frames, timeout=0.1, resend=resend, log=log).run()
    read_back = read(tmp_path / "a")
    assert read_back.lost == session.lost
    assert read_back.lost
    assert (Fate.MISSED in np.concatenate([r.fates for r in read_back.recordings])) != resend
    done = replay(read_back)
    assert done.different == []
    assert done.answers == session.answered


def rewrite(path: Path, kind: int, change: bytes, at: int) -> None:
    """Change the payload of the last record of a kind, and mend its CRC."""
    data = bytearray(path.read_bytes())
    ends = [0, *(end for end, _, _ in log_module._records(path, bytes(data)))]
    kinds = [(k, end) for end, k, _ in log_module._records(path, bytes(data))]
    end = [end for k, end in kinds if k == kind][-1]
    start = ends[ends.index(end) - 1] or 8
    payload = bytearray(data[start + 4 : end - 4])
    payload[at : at + len(change)] = change
    path.write_bytes(
        bytes(data[:start]) + log_module._record(kind, bytes(payload)) + bytes(data[end:])
    )


@pytest.mark.parametrize("backend", ["core", "reference"])
def test_an_answer_that_is_not_the_models_is_found(
    tmp_path: Path, board: Board, backend: str
) -> None:
    recorded(tmp_path / "a.esnl", board)
    digest_at = 12 + 20
    rewrite(tmp_path / "a.esnl", log_module.ANSWER, b"\x12\x34", digest_at)
    assert replay(read(tmp_path / "a.esnl"), backend).different == [(2, 11)]
    done = edgesnn("replay", tmp_path / "a.esnl", "--backend", backend)
    assert done.exit_code == 1
    assert "other answers than the session, the first at frame 11 of recording 2" in done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, board: Board) -> Path:
    path = tmp_path_factory.mktemp("whole") / "a.esnl"
    recorded(path, board)
    return path


def test_a_log_that_is_cut_anywhere_opens_with_all_that_was_whole(
    whole: Path, tmp_path: Path
) -> None:
    data = whole.read_bytes()
    full = read(whole)
    ends = [end for end, _, _ in log_module._records(whole, data)]
    begun = ends[1]  # behind the model
    part = tmp_path / "part"
    seen = -1
    for cut in range(len(data)):
        part.write_bytes(data[:cut])
        if cut < begun:
            with pytest.raises(FormatError, match=r"part (is no session log|was cut before its)"):
                read(part)
            continue
        log = read(part)
        assert log.bytes == max(end for end in ends if end <= cut)
        assert log.cut_bytes == cut - log.bytes
        assert log.answered in (seen, seen + 1) or seen < 0
        seen = log.answered
        for recording, complete in zip(log.recordings, full.recordings, strict=False):
            steps = len(recording.frames)
            np.testing.assert_array_equal(recording.frames, complete.frames[:steps])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def check_going_on(whole: Path, board: Board, path: Path, data: st.DataObject) -> None:
    image = whole.read_bytes()
    begun = [end for end, _, _ in log_module._records(whole, image)][1]
    path.write_bytes(image[: data.draw(st.integers(begun, len(image)))])
    with LogWriter.go_on(path, MODEL) as log:
        session = Stream(board, FRAMES, log=log).run()
        log.closed()
    assert session.agreement(reference.run(MODEL.graph, FRAMES)) == 1
    log_again = read(path)
    assert log_again.cut_bytes == 0
    assert log_again.closed
    assert [r.number for r in log_again.recordings] == [0, 1, 2]
    for sample, recording in enumerate(log_again.recordings):
        assert recording.complete
        np.testing.assert_array_equal(recording.frames, FRAMES[sample])
    assert replay(log_again).answers == FRAMES.shape[0] * FRAMES.shape[1]
    assert replay(log_again).different == []


def test_a_log_that_was_cut_anywhere_is_gone_on_with(
    whole: Path, board: Board, tmp_path: Path
) -> None:
    check_going_on(whole, board, tmp_path / "part")


def test_answers_that_were_lost_are_found_when_a_session_goes_on(
    tmp_path: Path, board: Board
) -> None:
    path = tmp_path / "a.esnl"
    with LogWriter.create(path, MODEL, source="test") as log:
        stream = record(board, log, 0, FRAMES[0])
        (answers,) = [next(stream)]
        stream.close()
        log.answers([])
    log_before = read(path)
    assert not log_before.recordings[0].complete
    data = path.read_bytes()
    ends = [(end, kind) for end, kind, _ in log_module._records(path, data)]
    first_answer = next(k for k, (_, kind) in enumerate(ends) if kind == log_module.ANSWER)
    cut = data[: ends[first_answer][0]]
    lost = log_module._record(log_module.LOST, log_module._LOST.pack(1, Fate.LOST, 5))
    path.write_bytes(cut + lost)
    assert read(path).lost == [(0, 1)]
    with LogWriter.go_on(path, MODEL) as log:
        list(record(board, log, 0, FRAMES[0]))
    assert answers
    assert read(path).lost == []
    assert replay(read(path)).answers == 12


def test_a_source_that_goes_on_is_recorded_behind_what_is_there(
    tmp_path: Path, board: Board
) -> None:
    """As a sensor, which does not give the same frames again."""
    path = tmp_path / "a.esnl"
    frames = [Frame(values, 1000 * k) for k, values in enumerate(FRAMES[0])]
    with LogWriter.create(path, MODEL, source="sensor") as log:
        list(record(board, log, 0, frames[:5]))
    cut = path.read_bytes()
    end = [end for end, _, _ in log_module._records(path, cut)][-2]
    path.write_bytes(cut[:end])  # without END: the recording is open
    with LogWriter.go_on(path, MODEL) as log:
        list(record(board, log, 0, frames[5:], continues=True))
    (recording,) = read(path).recordings
    np.testing.assert_array_equal(recording.frames, FRAMES[0])
    np.testing.assert_array_equal(recording.stamps, 1000 * np.arange(12))
    assert replay(read(path)).answers == 12


def test_going_on_with_other_frames_or_another_network_is_refused(
    tmp_path: Path, board: Board
) -> None:
    path = tmp_path / "a.esnl"
    with LogWriter.create(path, MODEL, source="test") as log:
        next(record(board, log, 0, FRAMES[0]))
    data = path.read_bytes()
    with (
        LogWriter.go_on(path, MODEL) as log,
        pytest.raises(ModelError, match=r"^frame 0 of recording 0 is another than in the log: go"),
    ):
        list(record(board, log, 0, FRAMES[1]))
    path.write_bytes(data)
    rewrite(path, log_module.ANSWER, b"\x12\x34", 12 + 20)
    with (
        LogWriter.go_on(path, MODEL) as log,
        pytest.raises(MismatchError, match=r"otherwise than before the cut: verify the board$"),
    ):
        list(record(board, log, 0, FRAMES[0]))


@settings(max_examples=60, deadline=None)
@given(at=st.integers(8, 1 << 20), bit=st.integers(0, 7))
def check_damage(whole: Path, path: Path, at: int, bit: int) -> None:
    data = bytearray(whole.read_bytes())
    ends = [end for end, _, _ in log_module._records(whole, bytes(data))]
    at = 8 + (at - 8) % (ends[-2] - 8)  # not in the last record: that would be a cut
    data[at] ^= 1 << bit
    path.write_bytes(bytes(data))
    with pytest.raises(FormatError, match=r"is damaged at byte \d+: whole records follow, so"):
        read(path)


def test_a_log_that_was_damaged_is_not_taken_for_one_that_was_cut(
    whole: Path, tmp_path: Path
) -> None:
    check_damage(whole, tmp_path / "damaged")


def test_a_log_that_only_a_machine_without_power_leaves_is_a_cut(
    whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "zeros").write_bytes(whole.read_bytes() + bytes(5000))
    assert read(tmp_path / "zeros").cut_bytes == 5000


def test_a_log_has_one_writer_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.esnl"
    with LogWriter.create(path, MODEL, source="test"):
        with pytest.raises(MissingError, match=r"^there is a file .*a.esnl already: choose anothe"):
            LogWriter.create(path, MODEL, source="test")
        with pytest.raises(MissingError, match=r"^another program is recording to .*a.esnl: wait"):
            LogWriter.go_on(path, MODEL)
    with pytest.raises(MissingError, match=r"^cannot write .*no/a.esnl: No such file or directory"):
        LogWriter.create(tmp_path / "no" / "a.esnl", MODEL, source="test")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.esnl"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with LogWriter.create(tmp_path / "a.esnl", MODEL, source="test") as log:
        os.close(log._file)
        log._file = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(MissingError, match=r"a.esnl: No space left on device; make room and "):
            log.recording(0)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "^cannot read .*x: No such file or directory; check the path$"),
        (b"", "x is no session log: give a file that `edgesnn record` wrote$"),
        (b"ESNN" + bytes(60), "x is no session log"),
        (b"ESNL\x09\0\0\0", "x is a session log of version 9, this edgesnn reads 1: update it$"),
        (b"ESNL\x01\0\0\0", "x was cut before its model was whole: record it again$"),
    ],
)
def test_files_that_are_no_session(tmp_path: Path, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / "x").write_bytes(data)
    with pytest.raises((FormatError, MissingError), match=words):
        read(tmp_path / "x")


@settings(max_examples=80, deadline=None)
@given(
    records=st.lists(
        st.tuples(st.integers(1, 12), st.binary(max_size=60) | st.just(b"{}")), max_size=6
    )
)
def check_hostile(path: Path, whole: Path, records: list[tuple[int, bytes]]) -> None:
    start = [end for end, _, _ in log_module._records(whole, whole.read_bytes())][1]
    body = b"".join(log_module._record(kind, payload) for kind, payload in records)
    path.write_bytes(whole.read_bytes()[:start] + body)
    with suppress(FormatError):
        replay(read(path))


def test_any_records_are_read_or_refused(whole: Path, tmp_path: Path) -> None:
    check_hostile(tmp_path / "x", whole)


def test_a_session_stands_in_for_the_board_that_it_was_recorded_from(whole: Path) -> None:
    with open_board(f"session:{whole}") as board:
        assert board.info.name == "virtual"
        board.put_model(MODEL)
        board.selftest()
        assert board.models().selected == 0
        session = Stream(board, FRAMES).run()
        with pytest.raises(DeviceError, match="has 3 recordings and no more: give it those that"):
            board.reset()
    assert session.agreement(reference.run(MODEL.graph, FRAMES)) == 1


def test_a_session_loses_again_what_was_lost(tmp_path: Path, board: Board) -> None:
    path = tmp_path / "a.esnl"
    frames = np.stack([frames_of(0, 40)])
    recorded(path, board, frames)
    data = path.read_bytes()
    parts = [8, *(end for end, _, _ in log_module._records(path, data))]
    kept = data[:8]
    for start, end in pairwise(parts):
        number = int.from_bytes(data[start + 4 : start + 8], "little")
        if not (data[start] == log_module.ANSWER and number in (3, 39)):
            kept += data[start:end]
    path.write_bytes(kept)
    with open_board(f"session:{path}") as playback:
        playback.put_model(MODEL)
        session = Stream(playback, frames, timeout=0.05).run()
    assert session.lost == [(0, 3), (0, 39)]


def test_a_session_answers_its_own_model_and_frames_only(whole: Path) -> None:
    other = blob.unpack(blob.pack(MODEL.graph.with_selftest(FRAMES[0], 0)))
    with (
        open_board(f"session://{whole}") as board,
        pytest.raises(ModelError, match="was recorded with another model: give the one that"),
    ):
        board.put_model(other)
    with open_board(f"session:{whole}") as board:
        board.put_model(MODEL)
        board.reset()
        with pytest.raises(ModelError, match="frame 0 of recording 0 is not the one in"):
            list(board.stream(FRAMES[1]))


def edgesnn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    blob.save(folder / "m.esnn", MODEL.graph, {"classes": list("abcde")})
    np.save(folder / "x.npy", FRAMES)
    return folder


def test_record_and_replay_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.esnl"
    given = ("record", folder / "m.esnn", "--input", folder / "x.npy", "-o", path)
    done = edgesnn(*given, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["frames_answered"] == 36
    assert read(path).model.classes == tuple("abcde")
    again = edgesnn("replay", path, "--json")
    assert again.exit_code == 0, again.output
    shown = json.loads(again.stdout.splitlines()[-1])
    assert (shown["answers_reproduced"], shown["frames_lost"], shown["closed"]) == (36, [], True)
    refused = edgesnn(*given)
    assert refused.exit_code == 2
    assert "already: choose another name, or go on with --resume" in refused.stderr
    path.write_bytes(path.read_bytes()[:-1500])
    assert edgesnn(*given, "--resume").exit_code == 0
    assert edgesnn("replay", path).exit_code == 0


@contextmanager
def restarting_board(cut_after: int) -> Iterator[str]:
    """A socket with a board behind it that is started anew with every connection, and that hangs up
    on the first three after so many bytes."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        for connection in count():
            try:
                line, _ = server.accept()
            except OSError:
                return
            board = open_transport("virtual://")
            left = cut_after if connection < 3 else 1 << 40
            with line, suppress(OSError):
                line.settimeout(0.001)
                while left > 0 and not over.is_set():
                    with suppress(TimeoutError):
                        heard = line.recv(4096)
                        if not heard:
                            break
                        board.write(heard)
                    answers = board.read(0)[:left]
                    line.sendall(answers)
                    left -= len(answers)
            board.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"socket://127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def test_a_board_that_is_started_anew_is_brought_back_into_its_state(
    folder: Path, tmp_path: Path
) -> None:
    frames = np.stack([frames_of(k, 100) for k in range(4)])
    np.save(tmp_path / "x.npy", frames)
    path = tmp_path / "run.esnl"
    with restarting_board(cut_after=9000) as port:
        done = edgesnn(
            "record", folder / "m.esnn", "--input", tmp_path / "x.npy", "-o", path, "--port", port
        )
    assert done.exit_code == 0, done.output
    log = read(path)
    assert len(log.boards) >= 3
    assert log.answered == 400
    assert replay(log).different == []


def test_a_board_that_is_not_there_leaves_no_log(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.esnl"
    done = edgesnn(
        "record", folder / "m.esnn", "--input", folder / "x.npy", "-o", path, "--port", "/dev/none"
    )
    assert done.exit_code == 2
    assert not path.exists()


def test_a_link_that_fails_leaves_a_session_to_go_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.esnl"
    given = ("record", folder / "m.esnn", "--input", folder / "x.npy", "-o", path)
    real = Board.stream_in_batches

    def fails(board: Board, *args: object, **options: object) -> object:
        yield next(real(board, *args, **options))  # type: ignore[arg-type]
        raise DeviceError("the link is gone: plug the board in again and start over")

    with monkeypatch.context() as patch:
        patch.setattr(Board, "stream_in_batches", fails)
        done = edgesnn(*given)
        assert done.exit_code == 3
    assert not read(path).closed
    assert edgesnn(*given, "--resume").exit_code == 0
    assert read(path).closed
    assert read(path).answered == 36
