"""Inotify: what happens to files, decoded; overflow, limits, and names that are no text."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import fail_calls, in_child, until_blocked

from rawsys.constants import (
    IN_ALL_EVENTS,
    IN_ATTRIB,
    IN_CLOSE_WRITE,
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_IGNORED,
    IN_ISDIR,
    IN_MASK_CREATE,
    IN_MODIFY,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONESHOT,
    IN_ONLYDIR,
    IN_OPEN,
    IN_Q_OVERFLOW,
    IN_UNMOUNT,
)
from rawsys.errors import ClosedError
from rawsys.events import Inotify, InotifyEvent
from rawsys.fd import Fd

PPOLL = 271


def test_a_file_is_made_written_and_removed(tmp_path: Path) -> None:
    """Each step is an event of its own, in order, with watch, name and path."""
    file = str(tmp_path / "file")
    with Inotify() as notes:
        watch = notes.watch(tmp_path, IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE)
        assert notes.get_nowait() is None
        with open(file, "wb", buffering=0) as opened:
            opened.write(b"x")
        os.chmod(file, 0o600)
        os.unlink(file)
        assert list(notes) == [
            InotifyEvent(watch, mask, 0, "file", file)
            for mask in (IN_CREATE, IN_MODIFY, IN_CLOSE_WRITE, IN_ATTRIB, IN_DELETE)
        ]
        assert notes.get_nowait() is None


def test_mask_is_the_kernels_word(tmp_path: Path) -> None:
    """The mask is of the IN family and shows names; a directory has IN_ISDIR with it."""
    with Inotify() as notes:
        notes.watch(tmp_path, IN_CREATE)
        (tmp_path / "folder").mkdir()
        event = notes.get(5)
        assert event.mask == IN_CREATE | IN_ISDIR
        assert IN_ISDIR in event.mask
        assert "IN_CREATE" in repr(event)


def test_renaming(tmp_path: Path) -> None:
    """The two events of a renaming have one cookie, also between two directories; another renaming has another one."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir(), other.mkdir()
    (one / "a").touch()
    with Inotify() as notes:
        first = notes.watch(one, IN_MOVED_FROM | IN_MOVED_TO)
        second = notes.watch(other, IN_MOVED_FROM | IN_MOVED_TO)
        os.rename(one / "a", one / "b")
        os.rename(one / "b", other / "c")
        events = list(notes)
        assert [(e.watch, e.mask, e.name) for e in events] == [
            (first, IN_MOVED_FROM, "a"),
            (first, IN_MOVED_TO, "b"),
            (first, IN_MOVED_FROM, "b"),
            (second, IN_MOVED_TO, "c"),
        ]
        cookies = [e.cookie for e in events]
        assert cookies[0] == cookies[1] != cookies[2] == cookies[3]
        assert 0 not in cookies
        assert events[3].path == str(other / "c")


def test_the_watched_path_itself(tmp_path: Path) -> None:
    """Events of the watched file have no name; its end is IN_DELETE_SELF and IN_IGNORED, and then the watch is unknown."""
    file = tmp_path / "file"
    file.touch()
    with Inotify() as notes:
        watch = notes.watch(file, IN_OPEN | IN_MOVE_SELF | IN_DELETE_SELF)
        file.read_bytes()
        moved = file.rename(tmp_path / "moved")
        moved.unlink()
        events = list(notes)
        assert [e.mask for e in events] == [IN_OPEN, IN_MOVE_SELF, IN_DELETE_SELF, IN_IGNORED]
        assert {(e.watch, e.name, e.path) for e in events} == {(watch, "", str(file))}
        with pytest.raises(OSError) as caught:
            notes.unwatch(watch)
        assert caught.value.errno == errno.EINVAL


def test_unwatch(tmp_path: Path) -> None:
    """IN_IGNORED is the last event of a watch; the same path gets another number afterwards."""
    with Inotify() as notes:
        watch = notes.watch(tmp_path, IN_CREATE)
        (tmp_path / "before").touch()
        notes.unwatch(watch)
        (tmp_path / "after").touch()
        again = notes.watch(tmp_path, IN_CREATE)
        (tmp_path / "again").touch()
        assert again != watch
        assert [(e.watch, e.mask, e.name) for e in notes] == [
            (watch, IN_CREATE, "before"),
            (watch, IN_IGNORED, ""),
            (again, IN_CREATE, "again"),
        ]


def test_watching_again_changes_the_mask(tmp_path: Path) -> None:
    """The same file has one number; IN_MASK_CREATE refuses that, IN_ONLYDIR a file, IN_ONESHOT ends by itself."""
    with Inotify() as notes:
        watch = notes.watch(tmp_path, IN_CREATE)
        assert notes.watch(os.fsencode(tmp_path), IN_DELETE) == watch
        (tmp_path / "file").touch()
        (tmp_path / "file").unlink()
        assert [e.mask for e in notes] == [IN_DELETE]
        with pytest.raises(FileExistsError):
            notes.watch(tmp_path, IN_CREATE | IN_MASK_CREATE)
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError):
            notes.watch(tmp_path / "file", IN_OPEN | IN_ONLYDIR)
        list(notes)
        once = notes.watch(tmp_path / "file", IN_OPEN | IN_ONESHOT)
        for _ in range(2):
            (tmp_path / "file").read_bytes()
        assert [(e.watch, e.mask) for e in notes] == [(once, IN_OPEN), (once, IN_IGNORED)]


NAMES = [b"\xff\xfe\x80", "m\u00fcde".encode(), b"n" * 255, b" ", b"a\nb", b"n" * 15, b"n" * 16, b"\xe2\x82"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names(tmp_path: Path, name: bytes) -> None:
    """Any name comes back as os.fsdecode gives it, so that it opens the file again; any length."""
    folder = os.fsencode(tmp_path)
    with Inotify() as notes:
        notes.watch(folder, IN_CREATE)
        for made in (name, b"next"):
            Fd.open(os.path.join(folder, made), os.O_CREAT | os.O_WRONLY, 0o600).close()
        first, second = notes
    assert os.fsencode(first.name) == name
    assert os.fsencode(first.path) == os.path.join(folder, name)
    assert os.path.exists(first.path)
    assert second.name == "next"


def test_path_is_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path stays relative."""
    monkeypatch.chdir(tmp_path)
    with Inotify() as notes:
        notes.watch(".", IN_CREATE)
        Path("file").touch()
        assert notes.get(5).path == "./file"


def test_many_at_once(tmp_path: Path) -> None:
    """More than one read holds: nothing is lost or out of order."""
    with Inotify() as notes:
        notes.watch(tmp_path, IN_CREATE)
        names = [f"{number:05}".ljust(200, "x") for number in range(1000)]
        for name in names:
            (tmp_path / name).touch()
        assert [event.name for event in notes] == names


def test_overflow(tmp_path: Path) -> None:
    """When more happened than the kernel keeps, one event says so, without a watch; then it goes on."""
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        most = int(file.read())
    if most > 100_000:
        pytest.skip(f"the kernel keeps {most} events: too many to make")
    one, other = tmp_path / "one", tmp_path / "other"
    one.touch(), other.touch()
    with Inotify() as notes, Fd.open(one, os.O_RDONLY) as first, Fd.open(other, os.O_RDONLY) as second:
        watches = {notes.watch(one, IN_ATTRIB), notes.watch(other, IN_ATTRIB)}
        # Two in turn: the kernel drops an event that equals the one before it.
        for _ in range(most // 2 + 1):
            os.fchmod(first.fileno(), 0o600)
            os.fchmod(second.fileno(), 0o600)
        *events, last = notes
        assert last == InotifyEvent(-1, IN_Q_OVERFLOW, 0, "", "")
        assert Counter((e.watch in watches, e.mask) for e in events) == {(True, IN_ATTRIB): most}
        os.fchmod(first.fileno(), 0o600)
        assert notes.get(5).path == str(one)


# ---- waiting ----


def test_get_waits(tmp_path: Path) -> None:
    """get() returns with what happens meanwhile, and raises TimeoutError after its time, not before."""
    with Inotify() as notes:
        notes.watch(tmp_path, IN_CREATE)
        begin = time.monotonic_ns()
        with pytest.raises(TimeoutError, match=r"no event of <Inotify \d+> came within 0.02 seconds"):
            notes.get(0.02)
        assert time.monotonic_ns() - begin >= 20_000_000

        def make() -> None:
            until_blocked(os.getpid(), PPOLL)
            (tmp_path / "file").touch()

        thread = threading.Thread(target=make)
        thread.start()
        assert notes.get().name == "file"
        thread.join()


def test_threads_share_it(tmp_path: Path) -> None:
    """Each event goes to one of the threads that get."""
    with Inotify() as notes:
        notes.watch(tmp_path, IN_CREATE)
        names = {str(number) for number in range(2000)}
        for name in names:
            (tmp_path / name).touch()
        seen: list[str] = []
        problems: list[BaseException] = []

        def take() -> None:
            try:
                while len(seen) < len(names):
                    if event := notes.get_nowait():
                        seen.append(event.name)
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert sorted(seen) == sorted(names)


def test_under_asyncio(tmp_path: Path) -> None:
    """get_async, async for and wait_async; a cancelled wait leaves nothing; what is there already does not wait."""

    async def main() -> list[str]:
        with Inotify() as notes:
            notes.watch(tmp_path, IN_CREATE)
            tasks = [asyncio.create_task(notes.wait_async()) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            for name in "abc":
                (tmp_path / name).touch()
            await asyncio.wait_for(asyncio.gather(*tasks[1:]), 20)
            seen = [(await notes.get_async()).name]
            await asyncio.wait_for(notes.wait_async(), 20)
            async for event in notes:
                seen.append(event.name)
                if event.name == "c":
                    break
            return seen

    assert asyncio.run(main()) == ["a", "b", "c"]


# ---- what is refused ----


def test_wrong_arguments(tmp_path: Path) -> None:
    """Errors of the kernel name the path; others say what is wrong; nothing is watched."""
    with Inotify() as notes:
        with pytest.raises(FileNotFoundError) as caught:
            notes.watch(tmp_path / "missing", IN_CREATE)
        assert caught.value.filename == str(tmp_path / "missing")
        with pytest.raises(OSError) as refused:
            notes.watch(tmp_path, 0)
        assert refused.value.errno == errno.EINVAL
        for problem, attempt in (
            (TypeError, lambda: notes.watch(1, IN_CREATE)),  # type: ignore[arg-type]
            (TypeError, lambda: notes.watch(tmp_path, "x")),  # type: ignore[arg-type]
            (ValueError, lambda: notes.watch("a\0b", IN_CREATE)),
            (ValueError, lambda: notes.get(-1)),
            (TypeError, lambda: Inotify(1)),  # type: ignore[call-arg]
        ):
            with pytest.raises(problem):
                attempt()
        (tmp_path / "file").touch()
        assert notes.get_nowait() is None


def test_limits_of_the_user(tmp_path: Path) -> None:
    """EMFILE for the instance, ENOSPC for the watch: OSError, and nothing is left open."""

    def child() -> list[Any]:
        with Inotify() as notes:
            before = len(os.listdir("/proc/self/fd"))
            fail_calls(errno.EMFILE, 294)
            with pytest.raises(OSError) as made:
                Inotify()
            fail_calls(errno.ENOSPC, 254)
            with pytest.raises(OSError) as watched:
                notes.watch(tmp_path, IN_CREATE)
            return [made.value.errno, watched.value.errno, len(os.listdir("/proc/self/fd")) - before, notes._paths]

    assert in_child(child) == [errno.EMFILE, errno.ENOSPC, 0, {}]


def test_the_kernels_own_limit_of_instances() -> None:
    """At max_user_instances the next one is EMFILE; all are closed again."""

    def child() -> int:
        owners = []
        try:
            while len(owners) < 5000:
                owners.append(Inotify())
        except OSError as error:
            return error.errno
        finally:
            for owner in owners:
                owner.close()
        pytest.skip("the limit of instances is above 5,000 here")

    assert in_child(child) == errno.EMFILE


def test_closed(tmp_path: Path) -> None:
    """After close() each use is ClosedError, also where events had been read and not been given."""
    notes = Inotify()
    notes.watch(tmp_path, IN_ALL_EVENTS)
    for name in "ab":
        (tmp_path / name).touch()
    assert notes.get(5)
    notes.close()
    for attempt in (
        notes.get_nowait,
        lambda: notes.get(0),
        lambda: notes.watch(tmp_path, IN_CREATE),
        lambda: notes.unwatch(1),
        lambda: list(notes),
        lambda: asyncio.run(notes.get_async()),
        lambda: asyncio.run(notes.wait_async()),
    ):
        with pytest.raises(ClosedError):
            attempt()


def test_descriptor(tmp_path: Path) -> None:
    """Non-blocking, closed on exec, readable while the kernel has events."""
    with Inotify() as notes, Fd.borrow(notes.fileno()) as number:
        assert number.nonblocking and number.cloexec
        notes.watch(tmp_path, IN_CREATE)
        assert not select.select([notes], [], [], 0)[0]
        (tmp_path / "file").touch()
        assert select.select([notes], [], [], 5)[0] == [notes]
        assert IN_UNMOUNT not in notes.get(0).mask
