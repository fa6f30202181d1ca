"""Memory that is not what it was: truncated files, forks, filters, and a machine of mappings and views."""

from __future__ import annotations

import errno
import os
import resource
import warnings

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from memory_maps import PAGE, maps
from support import fail_calls, in_child, run_child, run_python

import rawsys
from rawsys import constants
from rawsys.errors import ClosedError
from rawsys.memory import NONE, READ, WRITE, Mapping, memfd

READV, WRITEV, PIPE2 = 310, 311, 293


# ---- truncated: edge case 108 ----


@pytest.mark.parametrize("filtered", [None, errno.ENOSYS, errno.EPERM])
def test_truncated(filtered: int | None) -> None:
    """Edge case 108: behind the end of a truncated file careful copies are EFAULT with how far they got, whichever way they
    go; what is before it comes.
    """

    def look() -> None:
        if filtered:
            fail_calls(filtered, READV, WRITEV)
        with memfd("cut", 3 * PAGE) as fd, Mapping(3 * PAGE, fd=fd, shared=True) as mapping:
            mapping[:] = b"x" * 3 * PAGE
            assert mapping.read_at(3 * PAGE) == b"x" * 3 * PAGE
            fd.truncate(PAGE)
            assert mapping.read_at(PAGE) == b"x" * PAGE
            mapping.write_at(b"y" * PAGE)
            for use in (lambda: mapping.read_at(2 * PAGE, 10), lambda: mapping.write_at(b"z" * 2 * PAGE, 10)):
                with pytest.raises(OSError) as caught:
                    use()
                assert caught.value.errno == errno.EFAULT
                assert f"after {PAGE - 10} of {2 * PAGE} bytes" in "".join(caught.value.__notes__)
            with pytest.raises(OSError):
                mapping.read_at(1, 2 * PAGE)
            assert mapping.read_at(12) == b"y" * 10 + b"zz"
            fd.truncate(3 * PAGE)
            assert mapping.read_at(PAGE, PAGE) == bytes(PAGE)

    before = len(os.listdir("/proc/self/fd"))
    in_child(look)
    assert len(os.listdir("/proc/self/fd")) == before


def test_plain_look_behind_the_end() -> None:
    """Edge case 108: a slice behind the end of a truncated file is SIGBUS, as the docs say."""

    def look() -> int:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with memfd("cut", PAGE) as fd, Mapping(PAGE, fd=fd, shared=True) as mapping:
            fd.truncate(0)
            return mapping[0]

    assert "SIGBUS" in run_child(look).describe()


def test_careful_without_descriptors() -> None:
    """With no descriptor left for the pipe the first way's answer stands: EFAULT, or what the filter said."""

    def look() -> tuple[int | None, int | None]:
        with memfd("cut", PAGE) as fd, Mapping(PAGE, fd=fd, shared=True) as mapping:
            fd.truncate(0)
            fail_calls(errno.EMFILE, PIPE2)
            with pytest.raises(OSError) as gone:
                mapping.read_at(1)
            fail_calls(errno.ENOSYS, READV)
            with pytest.raises(OSError) as filtered:
                mapping.read_at(1)
            return gone.value.errno, filtered.value.errno

    assert in_child(look) == (errno.EFAULT, errno.EMFILE)


def test_read_at_outside() -> None:
    """Offsets and lengths are those of the mapping: ValueError outside, TypeError for what is no int; 0 bytes anywhere in it."""
    with Mapping(100) as mapping:
        for arguments in ((101,), (1, 100), (100, 1), (-1,), (1, -1), (2**62, 2**62)):
            with pytest.raises(ValueError):
                mapping.read_at(*arguments)
        for wrong in ((True,), (1.0,), ("x",), (), (1, 2, 3)):
            with pytest.raises(TypeError):
                mapping.read_at(*wrong)  # type: ignore[call-overload, arg-type, call-arg, unused-ignore]
        with pytest.raises(OverflowError):
            mapping.read_at(2**64)
        for data, offset in ((b"x", 100), (b"x" * 101, 0)):
            with pytest.raises(ValueError):
                mapping.write_at(data, offset)
        with pytest.raises(TypeError):
            mapping.write_at("x")  # type: ignore[arg-type]
        assert mapping.read_at(0, 100) == b""
        assert mapping.read_at(3, 97) == bytes(3)


def test_secret_memory() -> None:
    """Pages that the kernel itself does not look at (memfd_secret) are read and written through the pipe."""
    try:
        fd = rawsys.syscalls.memfd_secret(constants.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"no memfd_secret here: {error}")
    with fd:
        fd.truncate(PAGE)
        with Mapping(PAGE, fd=fd, shared=True) as mapping:
            mapping[:6] = b"secret"
            assert mapping.read_at(6) == b"secret"
            mapping.write_at(b"SEC")
            assert mapping[:6] == b"SECret"


# ---- fork ----


def test_fork() -> None:
    """Edge case 108: a child sees what is written to a shared mapping and its parent sees the child's; a private one parts;
    a view from before lives in both.
    """
    with Mapping(PAGE, shared=True) as shared, Mapping(PAGE) as private, memoryview(shared) as view:

        def child() -> bytes:
            shared[0], private[0] = 1, 1
            view[1] = 1
            with pytest.raises(BufferError):
                shared.close()
            private.close()
            return shared.read_at(3)

        shared[2] = 7
        assert in_child(child) == b"\1\1\7"
        assert shared[:3] == b"\1\1\7"
        assert private[0] == 0


def test_raw_fork_reads_its_own() -> None:
    """After a naked fork careful copies are of the child's own memory, not of its parent's."""

    def test() -> None:
        with Mapping(PAGE) as mapping:
            mapping.read_at(1)
            pid = rawsys.raw_fork()
            if pid == 0:
                status = 2
                try:
                    mapping[0] = 9
                    mapping.write_at(b"\x08", 1)
                    status = 0 if mapping.read_at(2) == b"\x09\x08" else 1
                finally:
                    rawsys.raw_exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert mapping[:2] == b"\0\0"

    in_child(test)


def test_not_inherited() -> None:
    """Edge case 108: after MADV_DONTFORK a child does not have it: closed there, ClosedError, and its address is let alone."""
    with Mapping(PAGE) as mapping:
        mapping.advise(constants.MADV_DONTFORK)

        def child() -> tuple[bool, bool]:
            for use in (
                lambda: mapping[0],
                lambda: mapping.read_at(1),
                lambda: memoryview(mapping),
                lambda: len(mapping),
            ):
                with pytest.raises(ClosedError, match="MADV_DONTFORK"):
                    use()
            with Mapping(PAGE, address=place) as other:
                other[0] = 5
                mapping.close()
                return mapping.closed, other[0] == 5

        place = mapping.address
        assert in_child(child) == (True, True)
        assert mapping[0] == 0
        mapping.advise(constants.MADV_DOFORK)
        assert in_child(lambda: mapping[0]) == 0
        mapping.advise(constants.MADV_WIPEONFORK)
        mapping[0] = 3
        assert in_child(lambda: mapping[0]) == 0


def test_call_in_another_thread_at_the_fork() -> None:
    """The calls of threads that a child does not have are void there: it can close and resize."""
    import threading

    with Mapping(1 << 20, populate=True) as mapping:
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                mapping.read_at(1 << 20)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            for _ in range(20):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # fork beside a thread: that is the point
                    pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        mapping.resize(PAGE)
                        mapping.close()
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        finally:
            stop.set()
            thread.join()


# ---- a machine of mappings and views ----


class Machine(RuleBasedStateMachine):
    """Mappings made, viewed, changed and closed in any order; the model is what may live, the oracle /proc/self/maps."""

    mappings = Bundle("mappings")
    views = Bundle("views")

    @initialize()
    def begin(self) -> None:
        self.alive: dict[int, Mapping] = {}
        self.count: dict[int, int] = {}
        self.data: dict[int, bytearray] = {}
        self.rights: dict[int, int] = {}
        self.views_of: dict[int, tuple[int, memoryview]] = {}
        self.names = 0

    @rule(target=mappings, length=st.integers(1, 3 * PAGE), guard=st.booleans(), shared=st.booleans())
    def make(self, length: int, guard: bool, shared: bool) -> int:
        """A new one, all zeroes."""
        mapping = Mapping(length, guard=guard, shared=shared)
        key = len(self.rights)
        self.alive[key], self.count[key], self.data[key], self.rights[key] = mapping, 0, bytearray(length), 3
        return key

    @rule(target=views, key=mappings)
    def view(self, key: int) -> int:
        """A view, where it can be read."""
        name = self.names = self.names + 1
        if key in self.alive and self.rights[key]:
            self.count[key] += 1
            self.views_of[name] = key, memoryview(self.alive[key])
        return name

    @rule(name=consumes(views))
    def release(self, name: int) -> None:
        """A view goes."""
        if name in self.views_of:
            key, view = self.views_of.pop(name)
            view.release()
            self.count[key] -= 1

    @rule(key=mappings, at=st.integers(0, 3 * PAGE - 1), value=st.integers(0, 255))
    def write(self, key: int, at: int, value: int) -> None:
        """A byte, where it can be written."""
        if key not in self.alive or at >= len(self.data[key]):
            return
        if self.rights[key] == 3:
            self.alive[key][at] = value
            self.data[key][at] = value
        else:
            with pytest.raises(TypeError):
                self.alive[key][at] = value

    @rule(key=mappings, prot=st.sampled_from([NONE, READ, READ | WRITE]))
    def protect(self, key: int, prot: int) -> None:
        """Less rights only without views."""
        if key not in self.alive:
            return
        if self.rights[key] & ~prot and self.count[key]:
            with pytest.raises(BufferError):
                self.alive[key].protect(prot)
        else:
            self.alive[key].protect(prot)
            self.rights[key] = int(prot)

    @rule(key=mappings, length=st.integers(1, 5 * PAGE))
    def resize(self, key: int, length: int) -> None:
        """Only without views, guards, or growth of anonymous shared memory."""
        if key not in self.alive:
            return
        mapping, old = self.alive[key], self.data[key]
        try:
            mapping.resize(length)
        except BufferError:
            assert self.count[key]
        except ValueError:
            assert mapping.guarded or mapping.shared
        else:
            assert not self.count[key]
            mapping_data = mapping.read_at(length) if self.rights[key] else None
            if mapping_data is not None:
                assert mapping_data[: min(length, len(old))] == old[:length]
                self.data[key] = bytearray(mapping_data)
            else:
                self.rights[key] = 3
                mapping.protect(READ | WRITE)
                self.data[key] = bytearray(mapping[:])

    @rule(key=mappings)
    def close(self, key: int) -> None:
        """Only without views."""
        if key not in self.alive:
            return
        mapping = self.alive[key]
        if self.count[key]:
            with pytest.raises(BufferError):
                mapping.close()
            return
        mapping.close()
        with pytest.raises(ClosedError):
            mapping.read_at(1)
        del self.alive[key]

    @invariant()
    def all_there(self) -> None:
        """Each that lives is in /proc/self/maps with its rights, and holds what was written."""
        lines = list(maps())
        for key, mapping in getattr(self, "alive", {}).items():
            line = next(line for line in lines if line.start <= mapping.address < line.end)
            assert line.rights[:2] == {0: "--", 1: "r-", 3: "rw"}[self.rights[key]]
            if self.rights[key]:
                assert mapping[:] == self.data[key]

    def teardown(self) -> None:
        """Views first, then the mappings that they held."""
        for _, view in getattr(self, "views_of", {}).values():
            view.release()
        for mapping in getattr(self, "alive", {}).values():
            mapping.close()


Machine.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes longer than a test may
)
test_machine = Machine.TestCase
test_machine.__doc__ = (
    "Hypothesis: whatever the order, views hold their mapping, and no mapping is where it should not be."
)


def test_not_imported_with_rawsys() -> None:
    """`import rawsys` loads none of this."""
    done = run_python(
        "import sys, rawsys; print([m for m in sys.modules if m.startswith(('rawsys.memory', 'rawsys.vdso'))])"
    )
    assert done.stdout == "[]\n", done.stderr
