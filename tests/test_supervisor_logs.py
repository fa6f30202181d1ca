"""What services write: nothing lost, no line cut, nobody held up by somebody else's flood."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervising import FAST, FOREVER, ONCE, Noting, down, sh, supervise
from support import in_child, need_root

from rawsys import raw
from rawsys.supervisor import Log, Restart, Service, Supervisor
from rawsys.supervisor.logs import CHUNK, Pump, RotatedFile

MiB = 1 << 20


def files(path: Path) -> list[bytes]:
    """What the rotated files hold, oldest first."""
    old = sorted(path.parent.glob(f"{path.name}.*"), key=lambda p: -int(p.suffix[1:]))
    return [p.read_bytes() for p in [*old, path] if p.exists()]


def last_line(part: bytes) -> int:
    """Where the last line of a file begins."""
    return part.rfind(b"\n", 0, -1) + 1


# ---- rotation ----

lines = st.lists(st.integers(0, 60).map(lambda n: b"x" * n + b"\n"), max_size=60).map(b"".join)


@given(data=lines, last=st.binary(max_size=5), size=st.integers(1, 100), cuts=st.lists(st.integers(1, 80), max_size=40))
def test_every_byte_is_there_and_no_line_is_cut(data: bytes, last: bytes, size: int, cuts: list[int]) -> None:
    """Whatever pieces it comes in: the files one after the other are what was written, and each but the last ends a line."""
    data += last.replace(b"\n", b"")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        file = RotatedFile(str(path), size, 1000)
        at = 0
        for cut in [*cuts, len(data)]:
            at += file.write(data[at : at + cut])
        file.close()
        parts = files(path)
        assert b"".join(parts) == data
        for part in parts[:-1]:
            assert part.endswith(b"\n")
            assert last_line(part) < size  # only its last line, which came in pieces or is long, makes it longer


def test_a_file_that_is_there_is_continued(tmp_path: Path) -> None:
    """Its size counts."""
    path = tmp_path / "log"
    path.write_bytes(b"old line\n")
    file = RotatedFile(str(path), 20, 5)
    file.write(b"next line\n")
    file.write(b"third\n")
    file.close()
    assert files(path) == [b"old line\nnext line\n", b"third\n"]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_so_many_old_files_are_kept(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "log"
    file = RotatedFile(str(path), 4, keep)
    for n in range(9):
        file.write(b"%03d\n" % n)
    file.close()
    assert files(path) == [b"%03d\n" % n for n in range(8 - keep, 9)]


def test_a_line_without_end_is_bounded(tmp_path: Path) -> None:
    """It goes 1 MiB beyond the size of its file, then it is cut."""
    path = tmp_path / "log"
    file = RotatedFile(str(path), 1000, 100)
    data = os.urandom(5 * MiB).replace(b"\n", b"x")
    assert file.write(data) == len(data)
    file.close()
    parts = files(path)
    assert b"".join(parts) == data
    assert {len(part) for part in parts[:-1]} == {1000 + MiB}


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "left"])
def test_a_file_that_was_taken_away_is_made_anew_with_the_next_run(tmp_path: Path, how: str) -> None:
    """What is written by and by goes where the path says, and nothing of a file that stayed is lost."""
    path = tmp_path / "log"
    file = RotatedFile(str(path), 1000, 1)
    file.begin()
    file.write(b"1\n2")
    if how == "removed":
        path.unlink()
    elif how != "left":
        path.rename(tmp_path / "old")
    if how == "replaced":
        path.write_bytes(b"other\n")
    file.begin()
    assert file.write(b"3\n") == 2
    file.close()
    assert path.read_bytes() == {"left": b"1\n23\n", "replaced": b"other\n3\n"}.get(how, b"3\n")
    assert how not in ("renamed", "replaced") or (tmp_path / "old").read_bytes() == b"1\n2"


def test_a_restart_makes_a_removed_log_anew(tmp_path: Path) -> None:
    """As an operator does it: rm, then restart."""
    path = tmp_path / "log"
    rules = Restart("always", limit=1, base=0.01, window=None, retry_after=None)
    service = sh("one", f"[ -e {path} ] && echo again || echo hello; exit 1", restart=rules, log=str(path))

    def prepare(supervisor: Noting) -> None:
        def remove(record: Any) -> None:
            if record.to == "backoff":
                supervisor.named("one")[0].pumps[0].drain()
                path.rename(tmp_path / "old")

        supervisor.on_event(remove)

    supervise([service], prepare=prepare, exit_when="all-done")
    assert ((tmp_path / "old").read_bytes(), path.read_bytes()) == (b"hello\n", b"hello\n")


def test_a_rotation_that_fails_after_a_part_was_written_repeats_nothing(tmp_path: Path) -> None:
    """The name of the old file is taken by a folder: what went into the first file is told, and is not written again."""
    path = tmp_path / "log"
    (tmp_path / "log.1" / "x").mkdir(parents=True)
    file = RotatedFile(str(path), 10, 1)
    data = b"12345\n12345\n12345\n"
    assert file.write(data) == 6
    with pytest.raises(OSError):
        file.write(data[6:])
    (tmp_path / "log.1" / "x").rmdir()
    (tmp_path / "log.1").rmdir()
    assert file.write(data[6:12]) == 6
    file.close()
    assert files(path) == [b"12345\n", b"12345\n"]


# ---- from a service into its files ----

WRITER = """
import os, sys
size, count = int(sys.argv[1]), int(sys.argv[2])
for n in range(count):
    line = (b"%06d" % n).ljust(size - 1, b"x") + b"\\n"
    at = 0
    while at < size:
        at += os.write(1, line[at:])
"""


def writer(name: str, size: int, count: int, **rules: Any) -> Service:
    """It writes numbered lines of one size."""
    return Service(name, [sys.executable, "-S", "-c", WRITER, str(size), str(count)], restart=ONCE, **rules)


@pytest.mark.parametrize(
    ("size", "count", "rotate"), [(7, 100_000, 50_000), (1000, 5000, 1_000_000), (1_000_000, 8, 2_500_000)]
)
def test_lines_of_every_size(tmp_path: Path, size: int, count: int, rotate: int) -> None:
    """0 lost, 0 cut, in order."""
    path = tmp_path / "log"
    supervise([writer("one", size, count, log=Log(path, size=rotate, keep=100))], exit_when="all-done")
    parts = files(path)
    assert all(last_line(part) < rotate and part.endswith(b"\n") for part in parts)
    assert len(parts) >= 2
    found = b"".join(parts).splitlines()
    assert [int(line[:6]) for line in found] == list(range(count))
    assert {len(line) for line in found} == {size - 1}


def test_prefixes(tmp_path: Path) -> None:
    """Each line has one, with time and name, wherever the reads were cut; a line that spans many reads has one as well."""
    path = tmp_path / "log"
    services = [
        writer("one", 7, 50_000, log=Log(path, prefix="{time} {name}> ")),
        writer("two", 300_000, 5, log=Log(tmp_path / "two", prefix="[{name}] ")),
    ]
    supervise(services, exit_when="all-done")
    found = path.read_bytes().splitlines()
    shape = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} one> (\d{6})")
    numbers = [int(match[1]) for line in found if (match := shape.fullmatch(line))]
    assert numbers == list(range(50_000))
    assert len(found) == 50_000
    two = (tmp_path / "two").read_bytes()
    assert two.count(b"[two] ") == 5 == two.count(b"\n")
    assert len(two) == 5 * 300_006


def test_standard_error_goes_where_it_is_told(tmp_path: Path) -> None:
    code = "echo out{i}; echo err{i} >&2"
    services = [
        sh("merge", code, log=str(tmp_path / "merge-{i}"), instances=2),
        sh("apart", code, log=Log(tmp_path / "out", stderr=Log(tmp_path / "err"))),
    ]
    supervise(services, exit_when="all-done")
    found = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert found == {"merge-0": "out0\nerr0\n", "merge-1": "out1\nerr1\n", "out": "out0\n", "err": "err0\n"}


def test_the_last_words_of_every_run_are_kept(tmp_path: Path) -> None:
    """The pipe stays over the restarts: what a process wrote right before it died is there, 20 times."""
    path = tmp_path / "log"
    rule = Restart("always", base=0, limit=20, window=None, retry_after=None)
    supervise(
        [sh("one", "echo begin; printf end; echo; kill -9 $$", log=str(path), restart=rule)], exit_when="all-done"
    )
    assert path.read_text() == "begin\nend\n" * 21


def test_what_got_away_and_writes_for_ever_does_not_keep_the_supervisor(tmp_path: Path) -> None:
    """As a library it leaves a daemon in its own session alone, whose output goes into the log: the end comes all the same."""
    path = tmp_path / "pid"
    code = f"(setsid sh -c 'echo $$ > {path}; echo >&3; exec 3>&-; exec yes' &); exec sleep 1000"
    outcome = supervise([sh("one", code, ready="fd", log=Log("/dev/null", size=None))], ("one", "running", down))
    with contextlib.suppress(ProcessLookupError):  # it may be reaped already
        fd = os.pidfd_open(int(path.read_text()))
        try:
            assert select.select([fd], [], [], 2)[0]  # it ended by SIGPIPE: nobody reads it any more
        finally:
            os.close(fd)
    assert outcome.path("one")[-1] == "stopped"


# ---- a child that closes its output ----


def test_a_child_that_closes_its_output_keeps_nobody_busy(tmp_path: Path) -> None:
    """No turn of the loop, no processor time: there is no end of file that is told again and again."""

    def begin(supervisor: Noting) -> None:
        supervisor.noted.extend([supervisor.loop.turns, time.process_time()])
        supervisor.loop.call_later(0.3, end, supervisor)

    def end(supervisor: Noting) -> None:
        supervisor.noted[0] = supervisor.loop.turns - supervisor.noted[0]
        supervisor.noted[1] = time.process_time() - supervisor.noted[1]
        down(supervisor)

    service = sh("one", "exec >&- 2>&-; echo >&3; exec 3>&-; exec sleep 1000", ready="fd", log=str(tmp_path / "log"))
    outcome = supervise([service], ("one", "running", lambda s: s.loop.call_later(0.1, begin, s)))
    turns, seconds = outcome.noted
    assert turns <= 2
    assert seconds < 0.05


# ---- fairness ----


@pytest.mark.parametrize("floods", [1, 7, 30])
def test_a_flood_delays_nobody(tmp_path: Path, floods: int) -> None:
    """So many pipes are full in every turn: a line of another service is moved within as many turns as there are pipes."""

    def body() -> tuple[int, int]:
        with Supervisor() as supervisor:
            service = Service("one", FOREVER, log=Log("/dev/null", size=None), instances=floods)
            quiet = Service("quiet", FOREVER, log=str(tmp_path / "quiet"))
            supervisor.add(service)
            supervisor.add(quiet)
            pumps = [pump for i in supervisor.named("one") for pump in supervisor.output.pumps_for(i)]
            (silent,) = supervisor.output.pumps_for(supervisor.named("quiet")[0])
            data = b"y\n" * (CHUNK // 2)
            for pump in pumps:
                pump.write.nonblocking = True
                raw.fcntl(pump.write, 1031, CHUNK)  # F_SETPIPE_SZ; without privilege it stays smaller, and is as full

            def turn() -> int:
                for pump in pumps:
                    while raw.write(pump.write, data, len(data)) > 0:
                        pass
                began = time.process_time()
                supervisor.loop.turn(0)
                return int((time.process_time() - began) * 1000)

            for _ in range(3):  # all floods stand before the quiet one in the kernel's list
                turn()
            worst = most = 0
            for _ in range(10):
                size = silent.sink._written  # type: ignore[attr-defined]
                raw.write(silent.write, b"line\n", 5)
                turns = 0
                while silent.sink._written == size and turns <= 100:  # type: ignore[attr-defined]
                    most = max(most, turn())
                    turns += 1
                worst = max(worst, turns)
            for instance in supervisor.all():
                supervisor.output.close_pumps(instance)
            supervisor.output.close()
            return worst, most

    turns, milliseconds = in_child(body)
    assert turns <= floods + 1
    assert milliseconds <= 10


def test_a_turn_takes_a_bounded_amount(tmp_path: Path) -> None:
    """A megabyte from one pipe, and not more than two in all, however much is there."""

    def body() -> int:
        with Supervisor() as supervisor:
            supervisor.add(Service("one", FOREVER, log=Log(tmp_path / "log", size=None), instances=20))
            pumps = [pump for i in supervisor.named("one") for pump in supervisor.output.pumps_for(i)]
            data = b"y\n" * (CHUNK // 2)
            for pump in pumps:
                pump.write.nonblocking = True
                raw.fcntl(pump.write, 1031, CHUNK)
                raw.write(pump.write, data, len(data))
            supervisor.loop.turn(0)
            moved = sum(p.stat().st_size for p in tmp_path.iterdir())
            for instance in supervisor.all():
                supervisor.output.close_pumps(instance)
            supervisor.output.close()
            assert sum(p.stat().st_size for p in tmp_path.iterdir()) >= moved
            return moved

    assert 0 < in_child(body) < 2 * CHUNK


# ---- a file that cannot be written ----


def after_notices(supervisor: Noting, *calls: Any) -> None:
    """Make these calls, one for each notice that comes."""
    waiting = list(calls)

    def listen(record: Any) -> None:
        if hasattr(record, "text") and waiting:
            waiting.pop(0)(supervisor)

    supervisor.on_event(listen)


def test_a_file_over_its_limit_is_told_and_retried_and_nothing_is_lost(tmp_path: Path) -> None:
    """EFBIG by RLIMIT_FSIZE, until the limit is raised: the service waits meanwhile, another one does not."""
    path = tmp_path / "log"
    limit, hard = 100_050, resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def rise(supervisor: Noting) -> None:
        supervisor.noted.append(str(supervisor.named("one")[0].state))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    outcome = supervise(
        [writer("one", 100, 5000, log=str(path)), sh("two", "exit 0", restart=FAST)],
        ("one", "done", down),
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)),
        prepare=lambda s: after_notices(s, rise),
    )
    assert outcome.noted == ["running"]
    first, second = (notice.text for notice in outcome.notices)
    assert re.fullmatch(r"its log cannot be written: \[Errno 27\] .*; tried again every 1 s", first)
    assert second == "its log is written again"
    assert [int(line[:6]) for line in path.read_bytes().splitlines()] == list(range(5000))
    told, again = (notice.time for notice in outcome.notices)
    assert sum(told < change.time < again for change in outcome.all("two", "exited")) >= 10


def test_a_full_disk_is_told_and_retried_and_nothing_is_lost(tmp_path: Path) -> None:
    """ENOSPC on a small tmpfs, in a mount namespace of its own, until somebody makes room."""
    need_root()
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount() -> None:
        if (
            raw.unshare(0x20000) < 0 or raw.mount("none", "/", None, 0x44000, None) < 0
        ):  # CLONE_NEWNS; MS_REC|MS_PRIVATE
            pytest.skip("no private mount namespace can be made here")
        assert raw.mount("tmpfs", str(disk), "tmpfs", 0, b"size=1m\0") == 0
        (disk / "filler").write_bytes(bytes(900 << 10))

    def read(supervisor: Noting) -> None:
        supervisor.noted.append((disk / "log").read_bytes())
        down(supervisor)

    outcome = supervise(
        [writer("one", 100, 4000, log=str(disk / "log"))],
        before=mount,
        prepare=lambda s: after_notices(
            s, lambda s: (disk / "filler").unlink(), lambda s: s.loop.call_later(0.1, read, s)
        ),
    )
    assert "No space left" in outcome.notices[0].text
    assert [int(line[:6]) for line in outcome.noted[0].splitlines()] == list(range(4000))


def test_a_folder_that_is_not_there_is_told_and_the_service_runs(tmp_path: Path) -> None:
    path = tmp_path / "later" / "log"
    outcome = supervise(
        [sh("one", "echo hello; exec sleep 1000", log=str(path))],
        prepare=lambda s: after_notices(s, lambda s: path.parent.mkdir(), down),
    )
    assert path.read_text() == "hello\n"
    assert outcome.path("one")[1] == "running"


# ---- the settings of a pump ----


def test_a_pump_takes_what_is_there_and_grows_where_much_is(tmp_path: Path) -> None:
    pump = Pump(Log(tmp_path / "log"), "one", RotatedFile(str(tmp_path / "log"), None, 0))
    assert pump.move() == 0
    raw.write(pump.write, b"x" * (1 << 16), 1 << 16)
    assert pump.move() == 1 << 16
    assert raw.fcntl(pump.write, 1032, 0) == CHUNK  # F_GETPIPE_SZ
    assert not pump.stuck
    pump.close()
    assert (tmp_path / "log").stat().st_size == 1 << 16


@pytest.fixture(autouse=True)
def _ordinary_output() -> Iterator[None]:
    """A test that changes descriptor 1 does it in a child; this fixture holds them to it."""
    before = os.fstat(1)
    yield
    assert os.path.samestat(before, os.fstat(1))
