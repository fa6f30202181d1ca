"""What the structures of `rawsys.structs` have in common: creation, refusals, copies, arrays, lifetimes."""

from __future__ import annotations

import array
import copy
import ctypes
import gc
import mmap
import os
import pickle
import subprocess
import sys
import weakref
from enum import IntFlag
from typing import Any

import pytest

from rawsys import structs


def all_kinds() -> list[Any]:
    return [getattr(structs, n) for n in structs.__all__ if isinstance(getattr(structs, n), type)]


def test_created_by_name_and_shown() -> None:
    now = structs.timespec(tv_sec=1, tv_nsec=5)
    assert (now.tv_sec, now.tv_nsec) == (1, 5)
    assert repr(now) == "timespec(tv_sec=1, tv_nsec=5)"
    assert repr(structs.iovec(iov_base=0x1000, iov_len=2)) == "iovec(iov_base=0x1000, iov_len=2)"
    assert repr(structs.futex_waitv()) == "futex_waitv(val=0, uaddr=0x0, flags=0)"
    assert "it_value=timespec(tv_sec=2, tv_nsec=0)" in repr(structs.itimerspec(it_value=structs.timespec(tv_sec=2)))
    assert repr(structs.utsname(sysname=b"Linux")).startswith("utsname(sysname=b'Linux', nodename=b''")
    assert repr(structs.seccomp_data(args=[1, 2])).endswith("args=[1, 2, 0, 0, 0, 0])")
    assert repr(structs.sigset([2, 10])) == "sigset([2, 10])"


def test_repr_of_each_kind() -> None:
    for kind in all_kinds():
        if kind is not structs.KernelStruct:
            assert repr(kind()).startswith(f"{kind.__name__}(")


def test_every_kind_has_a_docstring_and_a_version() -> None:
    for kind in all_kinds():
        assert kind.__doc__, kind
        if kind is not structs.KernelStruct:
            assert "_plan" not in kind.__doc__
            assert kind.SINCE == "" or kind.SINCE[0].isdigit()


def test_unknown_names() -> None:
    """An unknown name is refused in creation and in assignment, and the near miss is named."""
    with pytest.raises(TypeError, match=r"timespec has no field 'tv_sek'; did you mean 'tv_sec'\?"):
        structs.timespec(tv_sek=1)
    now = structs.timespec()
    with pytest.raises(AttributeError, match=r"did you mean 'tv_nsec'\?"):
        now.tv_nsecs = 1
    with pytest.raises(TypeError):
        structs.timespec(1, 2)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match=r"did you mean 'timespec'\?"):
        structs.timespek  # noqa: B018
    with pytest.raises(KeyError):
        structs.by_kernel_name("iovecs")


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_overflow(value: int) -> None:
    """Nothing is cut silently: ctypes alone would."""
    with pytest.raises(OverflowError, match="flags"):
        structs.open_how(flags=value)
    how = structs.open_how()
    with pytest.raises(OverflowError):
        how.flags = value
    with pytest.raises(OverflowError):
        structs.seccomp_data(args=[1, value])


def test_edges_of_integers() -> None:
    """A field of w bits takes -2**(w-1) to 2**w-1, signed or not."""
    assert structs.ucred(uid=-1).uid == 2**32 - 1
    assert structs.pollfd(events=0x8000).events == -0x8000
    with pytest.raises(OverflowError):
        structs.pollfd(events=0x10000)
    assert structs.sockaddr_in(sin_port=0xFFFE).sin_port == 0xFFFE
    assert structs.perf_event_attr(precise_ip=3).precise_ip == 3
    with pytest.raises(OverflowError):
        structs.perf_event_attr(precise_ip=4)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, b"x"])
def test_wrong_types(value: object) -> None:
    with pytest.raises(TypeError, match="tv_sec takes an int, not"):
        structs.timespec(tv_sec=value)


def test_what_counts_as_an_int() -> None:
    class Flag(IntFlag):
        ONE = 1

    assert structs.open_how(flags=Flag.ONE).flags == 1
    assert structs.perf_event_attr(disabled=True).disabled == 1
    with open(os.devnull) as file:
        assert structs.pollfd(fd=file).fd == file.fileno()
        with pytest.raises(TypeError):
            structs.pollfd(events=file)
        assert file.fileno() in structs.fd_set([file])  # type: ignore[list-item]


def test_arrays_inside() -> None:
    data = structs.seccomp_data(args=(1, 2))
    data.args[5] = 9
    assert list(data.args) == [1, 2, 0, 0, 0, 9]
    with pytest.raises(ValueError, match="at most 6"):
        structs.seccomp_data(args=range(7))
    assert bytes(structs.sockaddr_in(sin_addr=b"\x7f\0\0\1").sin_addr) == b"\x7f\0\0\1"
    with pytest.raises(ValueError, match="too long"):
        structs.utsname(sysname=b"x" * 66)


def test_equality_and_hash() -> None:
    assert structs.timespec(tv_sec=1) == structs.timespec(tv_sec=1)
    assert structs.timespec(tv_sec=1) != structs.timespec(tv_sec=2)
    assert structs.timespec() != structs.timeval()
    with pytest.raises(TypeError, match="unhashable"):
        hash(structs.timespec())


def test_from_bytes() -> None:
    """It copies; a structure that grew may be as short as its first version, others may not be short."""
    raw = bytearray(range(16))
    now = structs.timespec.from_bytes(raw)
    raw[0] = 99
    assert bytes(now) == bytes(range(16))
    assert structs.timespec.from_bytes(bytes(now) + b"more") == now
    with pytest.raises(ValueError, match="at least 16 bytes, not 15"):
        structs.timespec.from_bytes(bytes(15))
    old = structs.clone_args.from_bytes(b"\xff" * 64)
    assert (old.tls, old.set_tid, old.cgroup) == (2**64 - 1, 0, 0)
    with pytest.raises(ValueError, match="at least 64"):
        structs.clone_args.from_bytes(bytes(63))


def test_round_trip_of_each_kind() -> None:
    for kind in all_kinds():
        if kind is not structs.KernelStruct:
            raw = bytes(n % 251 for n in range(kind.sizeof()))
            assert bytes(kind.from_bytes(raw)) == raw
            assert bytes(kind()) == bytes(kind.sizeof())


def test_copies_and_pickles() -> None:
    now = structs.timespec(tv_sec=3)
    twin = copy.copy(now)
    twin.tv_sec = 4
    assert now.tv_sec == 3
    assert pickle.loads(pickle.dumps(now)) == now


def test_fields_and_sizeof() -> None:
    assert structs.timespec.fields() == ("tv_sec", "tv_nsec")
    assert structs.mnt_id_req.fields() == ("size", "mnt_ns_fd", "spare", "mnt_id", "param", "mnt_ns_id")
    assert structs.timespec.sizeof() == len(bytes(structs.timespec())) == 16
    assert not [f for kind in all_kinds() for f in kind.fields() if f.startswith("_")]


def test_array() -> None:
    three = structs.pollfd.array(3)
    three[1].fd = 7
    assert bytes(three)[8:12] == b"\7\0\0\0"
    two = structs.timespec.array([structs.timespec(tv_sec=1), structs.timespec(tv_sec=2)])
    assert [t.tv_sec for t in two] == [1, 2]
    with pytest.raises(OverflowError):
        three[0].fd = 2**40


def test_unions() -> None:
    info = structs.siginfo(si_signo=11, si_code=1, si_addr=0x1234)
    assert info.si_pid == 0x1234
    assert repr(info) == "siginfo(si_signo=11, si_errno=0, si_code=1, si_addr=0x1234)"
    assert structs.siginfo(si_int=-1).si_value == 0xFFFFFFFF
    event = structs.epoll_event(fd=5)
    assert event.data == 5
    entry = structs.io_uring_sqe(level=1, optname=2)
    assert entry.addr == 2 << 32 | 1
    assert structs.perf_event_attr(aux_resume=1).aux_action == 4
    info_ = structs.ptrace_syscall_info(op=1)
    info_.entry.nr = 39
    assert info_.seccomp.nr == 39


def test_sets() -> None:
    mask = structs.sigset([1, 64])
    assert bytes(mask) == b"\1\0\0\0\0\0\0\x80"
    mask.discard(1)
    mask.add(10)
    assert list(mask) == [10, 64]
    assert 11 not in mask
    for wrong in (0, 65, True):
        with pytest.raises(ValueError, match="holds 1 to 64"):
            structs.sigset([wrong])
    with pytest.raises(ValueError, match="holds 0 to 1023"):
        structs.fd_set([1024])
    action = structs.sigaction(sa_mask=structs.sigset([2]))
    assert 2 in action.sa_mask


def test_address_of() -> None:
    """The address is that of the buffer's memory, whatever exports it."""
    room = bytearray(b"hello")
    assert ctypes.string_at(structs.address_of(room), 5) == b"hello"
    assert ctypes.string_at(structs.address_of(b"bytes"), 5) == b"bytes"
    assert ctypes.string_at(structs.address_of(memoryview(b"abcdef")[2:]), 4) == b"cdef"
    numbers = array.array("i", [7])
    assert structs.address_of(numbers) == numbers.buffer_info()[0]
    now = structs.timespec()
    assert structs.address_of(now) == ctypes.addressof(now)
    with mmap.mmap(-1, 4096) as pages:
        pages[:2] = b"hi"
        assert ctypes.string_at(structs.address_of(pages), 2) == b"hi"
    with pytest.raises(TypeError):
        structs.address_of("text")
    with pytest.raises(BufferError):
        structs.address_of(memoryview(b"abcdef")[::2])


def test_address_of_cffi() -> None:
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    made = ffi.new("int[2]", [5, 6])
    assert structs.address_of(made) == int(ffi.cast("uintptr_t", made))


def test_iovecs_refuse_what_is_read_only() -> None:
    with pytest.raises(TypeError, match=r"buffer 1: bytes is read-only.*read_only=True"):
        structs.iovecs(bytearray(2), b"xx")
    assert [v.iov_len for v in structs.iovecs(b"xx", b"", read_only=True)] == [2, 0]
    assert len(structs.iovecs()) == 0


def test_iovecs_keep_the_buffers() -> None:
    """The buffers live as long as the array, and cannot be resized meanwhile."""

    class Room(bytearray):
        pass

    room = Room(b"hello")
    gone = weakref.ref(room)
    vector = structs.iovecs(room)
    with pytest.raises(BufferError):
        room.extend(b"x" * 1000)
    del room
    gc.collect()
    assert ctypes.string_at(vector[0].iov_base, 5) == b"hello"
    del vector
    gc.collect()
    assert gone() is None


def test_point_keeps_and_lets_go() -> None:
    """The target lives until the field points elsewhere; inside an array, the array keeps it."""

    class Room(bytearray):
        pass

    one, two = Room(8), Room(8)
    gone = weakref.ref(one)
    waiters = structs.futex_waitv.array(2)
    waiters[1].point("uaddr", one)
    assert waiters[1].uaddr == structs.address_of(one)
    del one
    gc.collect()
    assert gone() is not None
    waiters[1].point("uaddr", two)
    gc.collect()
    assert gone() is None
    waiters[1].point("uaddr", None)
    assert waiters[1].uaddr == 0
    with pytest.raises(TypeError, match="has no address 'uadr'; did you mean 'uaddr'"):
        waiters[0].point("uadr", two)
    with pytest.raises(TypeError, match="read-only"):
        waiters[0].point("uaddr", b"12345678")
    with pytest.raises(TypeError, match=r"address_of\(\) and point\(\)"):
        waiters[0].uaddr = two  # type: ignore[assignment]


def test_string_array() -> None:
    strings = structs.string_array(["a", b"bc", ""])
    assert [ctypes.string_at(p) for p in strings[:-1]] == [b"a", b"bc", b""]
    assert strings[3] == 0
    assert list(structs.string_array([])) == [0]
    variables = structs.string_array({"A": "1"})
    assert ctypes.string_at(variables[0]) == b"A=1"
    for wrong in (["a\0b"], {"a=b": "c"}, {"": "c"}):
        with pytest.raises(ValueError, match=r"NUL|variable"):
            structs.string_array(wrong)


def test_socket_addresses_refused() -> None:
    for wrong in ("", "x" * 109, "a\0b", ("localhost", 1), ("1.2.3", 1), ("::zz", 1)):
        with pytest.raises(ValueError, match=r"address"):
            structs.sockaddr(wrong)
    with pytest.raises(OverflowError):
        structs.sockaddr(("1.2.3.4", 70000))
    assert structs.sockaddr("x" * 108).length() == 110
    assert structs.sockaddr("/a").length() == 5
    assert structs.sockaddr(b"\0name").length() == 7


def test_tails_and_records() -> None:
    message = structs.msgbuf.with_tail(b"hello", mtype=4)
    assert bytes(message)[:13] == b"\4\0\0\0\0\0\0\0hello"
    assert message.tail_bytes() == b"hello"
    assert isinstance(message, structs.msgbuf)
    assert "mtext=b'hello'" in repr(message)
    assert message == structs.msgbuf.with_tail(b"hello", mtype=4)
    with pytest.raises(TypeError, match="no flexible array"):
        structs.timespec.with_tail(3)
    with pytest.raises(TypeError, match="where the next record starts"):
        list(structs.timespec.records(bytes(16)))
    for size in range(1, 200):
        made = structs.inotify_event.with_tail(size)
        assert len(made.tail_bytes()) == size
        assert len(bytes(made)) == 16 + size + -size % 4
    damaged = bytes(structs.linux_dirent64(d_reclen=0)) + bytes(10)
    with pytest.raises(ValueError, match="record of 0 bytes"):
        list(structs.linux_dirent64.records(damaged))
    with pytest.raises(ValueError, match="at least 19"):
        list(structs.linux_dirent64.records(bytes(5)))


def test_rseq_is_aligned() -> None:
    for _ in range(20):
        area = structs.rseq.aligned(cpu_id=3)
        assert structs.address_of(area) % 32 == 0
        assert area.cpu_id == 3


def test_program() -> None:
    program = structs.sock_fprog.of([structs.sock_filter(code=6, k=0x7FFF0000)])
    gc.collect()
    assert program.len == 1
    assert structs.sock_filter.from_bytes(ctypes.string_at(program.filter, 8)).k == 0x7FFF0000


def test_every_structure_of_the_call_table_is_here() -> None:
    """The names that the kernel's own declarations of its calls use."""
    table = """__aio_sigset __kernel_itimerspec __kernel_old_itimerval __kernel_old_timeval __kernel_timespec
    __kernel_timex cachestat cachestat_range clone_args epoll_event file_attr file_handle futex_waitv io_event
    io_uring_params iocb iovec kexec_segment landlock_ruleset_attr linux_dirent linux_dirent64 lsm_ctx mmsghdr
    mnt_id_req mount_attr mq_attr msgbuf msqid_ds new_utsname open_how perf_event_attr pollfd rlimit rlimit64
    robust_list_head rseq rusage sched_attr sched_param sembuf shmid_ds sigaction sigevent siginfo sockaddr stat statfs
    statmount statx sysinfo timezone tms user_msghdr ustat utimbuf xattr_args sigset_t siginfo_t fd_set stack_t
    bpf_attr"""
    for name in table.split():
        assert issubclass(structs.by_kernel_name(name), structs.KernelStruct)


def test_names_are_where_they_are_said_to_be() -> None:
    """The lazy table and the topics' own lists agree."""
    from importlib import import_module

    for topic, names in structs._TOPICS.items():
        module = import_module(f"rawsys.structs.{topic}")
        if topic != "_base":
            assert sorted(names.split()) == sorted(module.__all__)
        assert all(getattr(structs, name) is getattr(module, name) for name in names.split())
    assert set(structs.__all__) <= set(dir(structs))


def test_import_is_lazy() -> None:
    """The package alone loads no ctypes; a topic loads when a name of it is used."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from rawsys import structs; a = 'ctypes' in sys.modules; structs.timespec; "
        "print(a, *(n in sys.modules for n in ('rawsys.structs.times', 'rawsys.structs.uring', 'typing')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "False", "False"]


def test_copies_keep_what_the_original_keeps() -> None:
    """A structure that is copied into another one or into an array brings along what it points to."""

    class Room(bytearray):
        pass

    rooms = [Room(b"first"), Room(b"other")]
    gone = [weakref.ref(room) for room in rooms]
    batch = structs.mmsghdr.array([structs.mmsghdr(msg_hdr=structs.message([room])) for room in rooms])
    rooms.clear()
    gc.collect()
    assert all(ref() is not None for ref in gone)
    vector = structs.iovec.from_bytes(ctypes.string_at(batch[1].msg_hdr.msg_iov, 16))
    assert ctypes.string_at(vector.iov_base, 5) == b"other"
    del batch
    gc.collect()
    assert all(ref() is None for ref in gone)
