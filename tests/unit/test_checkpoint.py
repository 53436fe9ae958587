"""What was learnt survives a restart whole, or not at all; and whatever is in the file, the sidecar starts."""

import errno
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

import pytest
from controlled import Served, Sidecar
from fakes import ManualClock
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.checkpoint import LIMIT_BYTES, STALE_SECONDS, VERSION, Checkpoint
from controller.decide.course import Bar, Course, Probe
from controller.decide.explore import Account
from controller.memory import Learnt, LearntWorkload
from controller.model.evidence import AcceptanceEvidence
from controller.model.step_table import Cell, StepTable
from controller.observe.errors import ObserveError
from controller.observe.snapshot import Key
from controller.reason import Reason
from controller.simulator.scenarios import SCENARIOS

SERVER: Final = "http://127.0.0.1:8000"
KEY: Final[Key] = ("meta/llama", "0", ())
EVIDENCE: Final = AcceptanceEvidence(
    at_risk=(1000.0, 700.0, 350.5),
    accepted=(700.0, 350.0, 100.0),
    draft_squares=900.0,
    draft_tokens=3000.0,
    request_steps=1000.0,
    drafting_steps=1000.0,
    scatter=4.0,
    scatter_windows=5.0,
)
LEARNT: Final = Learnt(
    k_max=3,
    evidence=EVIDENCE,
    workloads=(
        LearntWorkload("chat", EVIDENCE, 600.0),
        LearntWorkload("code", replace(EVIDENCE, scatter=0.0), 400.0),
    ),
    table=StepTable((Cell(4.0, 3.0, 1.0, math.log(0.01), 7.5), Cell(4.0, 0.0, 0.0, math.log(0.008), 2.0, False, 3.0))),
    course=Course(
        home=((1, 31, 3), (32, 256, 0)),
        before=((1, 256, 3),),
        changed_at_seconds=900.0,
        refined_at_seconds=950.0,
        account=Account(7.5, 995.0),
        bars=(Bar(2, 4.0, 1300.0, 300.0, probes_only=True),),
    ),
)


def checkpoint(folder: Path, clock: ManualClock | None = None, server: str = SERVER) -> Checkpoint:
    """The file in a folder."""
    return Checkpoint(folder / "checkpoint", server, clock or ManualClock())


def saved(folder: Path, learnt: Learnt = LEARNT) -> Path:
    """A file with one engine."""
    checkpoint(folder).save({KEY: learnt})
    return folder / "checkpoint"


def refused(folder: Path, **options: Any) -> str:
    """The sentence with which the file is not used."""
    with pytest.raises(ObserveError) as caught:
        checkpoint(folder, **options).read()
    assert caught.value.reason is Reason.CHECKPOINT_UNUSABLE
    message = caught.value.message
    assert message.isprintable()
    assert message.startswith(f"The checkpoint {folder / 'checkpoint'} cannot be used (")
    assert message.endswith("): starting from nothing, as without one.")
    return message


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    """Every number to the last bit; several engines, and names as they are."""
    both = {KEY: LEARNT, ("zwölf\n", "1", ()): replace(LEARNT, evidence=None, workloads=())}
    checkpoint(tmp_path).save(both)
    assert checkpoint(tmp_path).read() == both


def test_without_a_file_nothing_is_known(tmp_path: Path) -> None:
    """A first start is no failure."""
    assert checkpoint(tmp_path).read() == {}


def test_the_file_is_replaced_by_later_knowledge_and_left_alone_without_any(tmp_path: Path) -> None:
    """The disk is not written when nothing changed."""
    kept = checkpoint(tmp_path)
    kept.save({KEY: LEARNT})
    first = (tmp_path / "checkpoint").stat().st_ino
    kept.save({KEY: replace(LEARNT)})
    assert (tmp_path / "checkpoint").stat().st_ino == first
    kept.save({KEY: replace(LEARNT, k_max=3, workloads=())})
    assert checkpoint(tmp_path).read()[KEY].workloads == ()
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]


def test_times_of_the_writers_clock_become_times_of_the_readers(tmp_path: Path) -> None:
    """What was 100 s ago, or 300 s ahead, is 160 s ago, or 240 s ahead, after a reboot that took a minute."""
    saved(tmp_path)
    later = ManualClock(monotonic=7.0, unix=ManualClock().unix + 60)
    course = checkpoint(tmp_path, later).read()[KEY].course
    shift = 7.0 - 1060.0
    assert course.changed_at_seconds == pytest.approx(900.0 + shift)
    assert course.refined_at_seconds == pytest.approx(950.0 + shift)
    assert course.account == Account(7.5, course.account.at_seconds)
    assert course.account.at_seconds == pytest.approx(995.0 + shift)
    (bar,) = course.bars
    assert bar == Bar(2, 4.0, bar.until_seconds, 300.0, probes_only=True)
    assert bar.until_seconds == pytest.approx(1300.0 + shift)


def test_a_probe_does_not_outlive_the_process_that_watched_it(tmp_path: Path) -> None:
    """The lasting schedule does."""
    saved(tmp_path, replace(LEARNT, course=replace(LEARNT.course, probe=Probe(1, 4.0, 2))))
    course = checkpoint(tmp_path).read()[KEY].course
    assert (course.probe, course.home) == (None, LEARNT.course.home)


# A kill at any instant, and a disk that is full.

INSTANTS: Final = ("open", "write", "flush", "fsync", "replace")


class Killed(BaseException):
    """The process ends here; nothing of it runs any more."""


class Full:
    """A file that takes half of what is written, and fails at once or when it is flushed."""

    def __init__(self, file: Any, error: BaseException, at_once: bool) -> None:
        self._file, self._error, self._at_once = file, error, at_once

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, body: bytes) -> None:
        """Half of it."""
        self._file.write(body[: len(body) // 2])
        if self._at_once:
            raise self._error

    def flush(self) -> None:
        """There is no room."""
        raise self._error


def failing(monkeypatch: pytest.MonkeyPatch, instant: str, error: BaseException) -> None:
    """The next save fails at this instant."""
    opened = os.fdopen

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    def open_full(handle: int, _: str) -> Full:
        return Full(opened(handle, "wb", buffering=0), error, instant == "write")

    names = {"open": "os.open", "fsync": "os.fsync", "replace": "Path.replace"}
    broken, how = (names[instant], fail) if instant in names else ("os.fdopen", open_full)
    monkeypatch.setattr(f"controller.checkpoint.{broken}", how)


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_kill_at_any_instant_of_saving_leaves_the_old_file_whole(
    instant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has been replaced it is the old one, to the byte; also when not even the rest can be tidied up."""
    before = saved(tmp_path).read_bytes()
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        failing(broken, instant, Killed())
        with pytest.raises(Killed):
            checkpoint(tmp_path).save({KEY: replace(LEARNT, workloads=())})
    assert (tmp_path / "checkpoint").read_bytes() == before
    assert checkpoint(tmp_path).read() == {KEY: LEARNT}
    checkpoint(tmp_path).save({KEY: replace(LEARNT, workloads=())})
    assert checkpoint(tmp_path).read()[KEY].workloads == ()
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]  # nor is anything left of the kill


def test_what_is_replaced_is_on_the_disk_before_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is synced whole before it takes the name: a power cut leaves no empty one."""
    synced: list[int] = []
    sync, replaced = os.fsync, Path.replace

    def note(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        sync(handle)

    def rename(self: Path, target: Path) -> Path:
        assert synced == [self.stat().st_size]
        return replaced(self, target)

    monkeypatch.setattr("controller.checkpoint.os.fsync", note)
    monkeypatch.setattr(Path, "replace", rename)
    assert synced == [saved(tmp_path).stat().st_size]


@pytest.mark.parametrize("instant", INSTANTS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_takes_nothing_is_told_and_the_old_file_is_as_it_was(
    instant: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cause and the remedy; nothing is left lying about, and the next save is tried anew."""
    before = saved(tmp_path).read_bytes()
    kept = checkpoint(tmp_path)
    changed = {KEY: replace(LEARNT, workloads=())}
    with monkeypatch.context() as broken:
        failing(broken, instant, OSError(number, os.strerror(number)))
        with pytest.raises(ObserveError) as caught:
            kept.save(changed)
    assert caught.value.reason is Reason.CHECKPOINT_NOT_SAVED
    assert os.strerror(number).partition(" (")[0] in caught.value.message
    assert "--checkpoint" in caught.value.message
    assert (tmp_path / "checkpoint").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["checkpoint"]
    kept.save(changed)
    assert checkpoint(tmp_path).read() == changed


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """It is not made: a volume that is not mounted must be seen."""
    with pytest.raises(ObserveError) as caught:
        checkpoint(tmp_path / "nowhere").save({KEY: LEARNT})
    assert caught.value.reason is Reason.CHECKPOINT_NOT_SAVED
    assert "No such file or directory" in caught.value.message


# Files that are not to be believed.


def edited(folder: Path, edit: Callable[[Any], object]) -> None:
    """The file after an edit of its document."""
    path = saved(folder)
    document = json.loads(path.read_text("utf-8"))
    edit(document)
    path.write_text(json.dumps(document), "utf-8")


def course_of(document: Any) -> Any:
    """The course of the one engine."""
    return document["engines"][0][2]["course"]


def evidence_of(document: Any) -> Any:
    """Its evidence."""
    return document["engines"][0][2]["evidence"]


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"\x00" * 4096, b"\xff\xfe", b"[" * 100_000, b"checkpoint", b'{"version": 1}'],
    ids=["empty", "null", "list", "object", "zeros", "no text", "brackets", "words", "a start"],
)
def test_what_is_no_checkpoint_is_not_used(body: bytes, tmp_path: Path) -> None:
    """In one sentence, and the file is left for whoever wants to look at it."""
    (tmp_path / "checkpoint").write_bytes(body)
    refused(tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == body


@given(st.integers(0, 100_000))
@settings(max_examples=40)
def test_a_file_that_was_cut_is_not_used(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    """Wherever it was."""
    folder = tmp_path_factory.mktemp("cut")
    path = saved(folder)
    body = path.read_bytes()
    path.write_bytes(body[: length % len(body)])
    refused(folder)


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    """Whoever can write it must not fill the memory."""
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes() + b" " * LIMIT_BYTES)
    assert f"larger than {LIMIT_BYTES} bytes" in refused(tmp_path)


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    """Neither read nor a crash."""
    (tmp_path / "checkpoint").mkdir()
    assert "Is a directory" in refused(tmp_path)


def test_of_a_newer_version_nothing_is_taken(tmp_path: Path) -> None:
    """It may mean something else by the same words."""
    edited(tmp_path, lambda document: document.update(version=VERSION + 1))
    assert f"version {VERSION + 1}, this sidecar reads {VERSION}" in refused(tmp_path)


def test_of_another_server_nothing_is_taken(tmp_path: Path) -> None:
    """Its traffic and its hardware are others."""
    saved(tmp_path)
    assert "of another server, http://127.0.0.1:8000" in refused(tmp_path, server="http://other:8000")


@pytest.mark.parametrize(
    ("seconds", "usable"), [(0, True), (STALE_SECONDS, True), (STALE_SECONDS + 60, False), (-60, False)]
)
def test_what_is_a_day_old_or_of_the_future_is_not_believed(seconds: float, usable: bool, tmp_path: Path) -> None:
    """Traffic changes; and a clock that went back says nothing about how much time has passed."""
    saved(tmp_path)
    clock = ManualClock(unix=ManualClock().unix + seconds)
    if usable:
        assert checkpoint(tmp_path, clock).read().keys() == {KEY}
    else:
        assert "hours ago" in refused(tmp_path, clock=clock)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    "field", ["unix_seconds", "monotonic_seconds", "log_seconds", "draft_squares", "until_seconds"]
)
def test_numbers_that_are_none_are_not_used(number: str, field: str, tmp_path: Path) -> None:
    """Arithmetic would carry them everywhere."""
    path = saved(tmp_path)
    start, _, rest = path.read_text("utf-8").partition(f'"{field}":')
    end = min(rest.index(sign) for sign in ",}" if sign in rest)
    path.write_text(f'{start}"{field}":{number}{rest[end:]}', "utf-8")
    refused(tmp_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda document: evidence_of(document).update(accepted=[2000, 300, 100]),
        lambda document: evidence_of(document).update(accepted=[-1, 300, 100]),
        lambda document: evidence_of(document).update(at_risk=[1000, 700]),
        lambda document: evidence_of(document).update(request_steps=-5),
        lambda document: document["engines"][0][2].update(k_max=5),
        lambda document: document["engines"][0][2].update(k_max=None),
        lambda document: document["engines"][0][2].update(k_max=-3),
        lambda document: document["engines"][0][2]["table"]["cells"][0].update(batch=0),
        lambda document: document["engines"][0][2]["table"]["cells"][0].update(weight=-1),
        lambda document: document["engines"][0][2]["table"]["cells"][0].update(log_seconds=900),
        lambda document: course_of(document).update(home=[[1, 31, 3], [20, 256, 0]]),
        lambda document: course_of(document).update(home=[[2, 31, 3]]),
        lambda document: course_of(document).update(home=[[1, 31, 4]]),
        lambda document: course_of(document).update(home=[[1, 31, -1]]),
        lambda document: course_of(document).update(home=[[31, 1, 1]]),
        lambda document: course_of(document)["bars"][0].update(k=-100),
        lambda document: course_of(document)["bars"][0].update(k=9),
        lambda document: course_of(document)["bars"][0].update(batch=0),
        lambda document: course_of(document)["bars"][0].update(seconds=-3000),
        lambda document: course_of(document)["account"].update(seconds="much"),
        lambda document: document["engines"].append(["m"]),
        lambda document: document.update(server=None),
    ],
)
def test_a_file_that_was_edited_into_nonsense_is_not_used(edit: Callable[[Any], object], tmp_path: Path) -> None:
    """Counts that cannot be, schedules that no engine runs, ks that it does not have."""
    edited(tmp_path, edit)
    refused(tmp_path)


# Whatever the file says, the sidecar starts.


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values are in a document."""
    if isinstance(value, dict | list):
        yield path
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[tuple[Any, ...]]]:
    """A file as a sidecar leaves it after some minutes with three workloads: its folder, document, and values."""
    folder = tmp_path_factory.mktemp("real")
    sidecar = Sidecar(Served("mixed-workloads", folder))
    sidecar.until(200)
    Checkpoint(folder / "checkpoint", SERVER, sidecar.clock).save(sidecar.loop.learnt)
    document = json.loads((folder / "checkpoint").read_text("utf-8"))
    return folder, document, [path for path in leaves(document) if path and path[0] == "engines"]


EDGES: list[Any] = [
    None, 0, -1, 1, 1e-9, -1e-9, 1e15, -1e15, 1e300, -1e300, 10**18, -100, "", "x", [], {}, True,
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(EDGES),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-10, 300),
)


@given(st.data())
@settings(max_examples=80)
def test_whatever_was_edited_the_file_is_refused_or_the_loop_runs_on_it(
    real: tuple[Path, Any, list[tuple[Any, ...]]], data: st.DataObject
) -> None:
    """No value in it makes a pass raise; with what it accepts, decisions are made."""
    folder, document, paths = real
    changed = json.loads(json.dumps(document))
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3), label="where"):
        inner = changed
        try:
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = data.draw(VALUES, label=str(path))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took that part away
    (folder / "checkpoint").write_text(json.dumps(changed), "utf-8")
    served = Served(SCENARIOS["mixed-workloads"], folder)
    sidecar = Sidecar(served)
    with suppress(ObserveError):
        restored = Checkpoint(folder / "checkpoint", SERVER, sidecar.clock).read()
        last = Sidecar(served, restored=restored).until(40)[-1]
        assert last.failures == ()
        assert last.engines[0].decision.scores


def test_what_would_not_be_read_back_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older file, which can be, stays."""
    path = saved(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr("controller.checkpoint.LIMIT_BYTES", len(before))
    with pytest.raises(ObserveError) as caught:
        checkpoint(tmp_path).save({KEY: replace(LEARNT, workloads=LEARNT.workloads * 2)})
    assert caught.value.reason is Reason.CHECKPOINT_NOT_SAVED
    assert path.read_bytes() == before
