"""`rawsys.structs` in live calls: what the kernel writes arrives in the right fields."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rawsys import structs

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


def call(number: int, *args: Any, absent: tuple[int, ...] = ()) -> int:
    """A system call; ints as they are, objects as the address of their memory. ENOSYS and `absent` skip the test."""
    words = [ctypes.c_long(a if isinstance(a, int) else 0 if a is None else structs.address_of(a)) for a in args]
    ctypes.set_errno(0)
    answer = int(libc.syscall(ctypes.c_long(number), *words))
    if answer == -1:
        code = ctypes.get_errno()
        if code == errno.ENOSYS or code in absent:
            pytest.skip(f"system call {number}: {os.strerror(code)}")
        raise OSError(code, os.strerror(code))
    return answer


@contextmanager
def closing(*fds: int) -> Iterator[None]:
    try:
        yield
    finally:
        for fd in fds:
            os.close(fd)


def test_clock_gettime() -> None:
    before, now = time.monotonic_ns(), structs.timespec()
    call(228, time.CLOCK_MONOTONIC, now)
    assert before <= now.tv_sec * 10**9 + now.tv_nsec <= time.monotonic_ns()


def test_gettimeofday_and_timezone() -> None:
    now, zone = structs.timeval(), structs.timezone()
    call(96, now, zone)
    assert abs(now.tv_sec - time.time()) < 5
    assert abs(zone.tz_minuteswest) <= 24 * 60


def test_timers() -> None:
    """timerfd_settime, timerfd_gettime, setitimer, getitimer."""
    fd = call(283, 1, 0)
    with closing(fd):
        wish = structs.itimerspec(it_value=structs.timespec(tv_sec=100), it_interval=structs.timespec(tv_sec=7))
        call(286, fd, 0, wish, None)
        left = structs.itimerspec()
        call(287, fd, left)
        assert left.it_interval.tv_sec == 7
        assert left.it_value.tv_sec in (99, 100)
    interval = structs.itimerval(it_value=structs.timeval(tv_usec=5))
    call(36, 2, interval)
    assert interval == structs.itimerval()


def test_timer_create_with_sigevent() -> None:
    """A timer that tells nobody (SIGEV_NONE) counts down."""
    timer = (ctypes.c_int32 * 1)()
    call(222, 1, structs.sigevent(sigev_notify=1, sival_int=7), timer)
    call(223, timer[0], 0, structs.itimerspec(it_value=structs.timespec(tv_sec=50)), None)
    left = structs.itimerspec()
    call(224, timer[0], left)
    call(226, timer[0])
    assert 48 <= left.it_value.tv_sec <= 50


def test_adjtimex_and_times() -> None:
    clock = structs.timex()
    assert call(159, clock) in range(6)
    assert 9000 <= clock.tick <= 11000
    assert abs(clock.time.tv_sec - time.time()) < 60
    ticks = structs.tms()
    call(100, ticks)
    assert ticks.tms_utime >= 0
    assert ticks.tms_utime + ticks.tms_stime <= time.process_time() * 100 + 2


def test_stat_and_statx(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 12345)
    known = path.stat()
    old, new = structs.stat(), structs.statx()
    name = os.fsencode(path) + b"\0"
    call(262, AT_FDCWD, name, old, 0)
    call(332, AT_FDCWD, name, 0, 0x7FF, new)
    assert (old.st_size, old.st_ino, old.st_mode, old.st_nlink) == (12345, known.st_ino, known.st_mode, 1)
    assert old.st_mtime * 10**9 + old.st_mtime_nsec == known.st_mtime_ns
    assert (new.stx_size, new.stx_ino, new.stx_mode, new.stx_nlink) == (12345, known.st_ino, known.st_mode, 1)
    assert new.stx_mtime.tv_sec * 10**9 + new.stx_mtime.tv_nsec == known.st_mtime_ns
    assert os.makedev(new.stx_dev_major, new.stx_dev_minor) == known.st_dev == old.st_dev


def test_statfs_and_ustat() -> None:
    found, known = structs.statfs(), os.statvfs("/")
    call(137, b"/\0", found)
    assert (found.f_bsize, found.f_blocks, found.f_namelen) == (known.f_bsize, known.f_blocks, known.f_namemax)
    free = structs.ustat()
    device = os.stat("/").st_dev
    call(136, (os.major(device) << 8) | os.minor(device), free, absent=(errno.EINVAL,))
    assert free.f_tinode == found.f_ffree
    assert free.f_tfree == ctypes.c_int32(found.f_bfree).value


def test_openat2_refuses_to_leave(tmp_path: Path) -> None:
    """RESOLVE_BENEATH counts, and a size that the kernel knows is accepted."""
    fd = os.open(tmp_path, os.O_RDONLY)
    with closing(fd):
        how = structs.open_how(flags=os.O_RDONLY, resolve=0x08)
        with pytest.raises(OSError, match="cross-device"):
            call(437, fd, b"../x\0", how, how.sizeof())
        with closing(call(437, fd, b".\0", how, how.sizeof())):
            pass


def test_getdents64(tmp_path: Path) -> None:
    for name in ("a", "much-longer-name", "b"):
        (tmp_path / name).touch()
    fd = os.open(tmp_path, os.O_RDONLY)
    with closing(fd):
        room = bytearray(4096)
        filled = call(217, fd, room, len(room))
        entries = {rest.split(b"\0")[0].decode(): head for head, rest in structs.linux_dirent64.records(room, filled)}
        os.lseek(fd, 0, 0)
        filled = call(78, fd, room, len(room))
        old = {rest.split(b"\0")[0].decode(): head for head, rest in structs.linux_dirent.records(room, filled)}
    assert set(entries) == set(old) == {".", "..", "a", "b", "much-longer-name"}
    assert entries["a"].d_ino == old["a"].d_ino == (tmp_path / "a").stat().st_ino
    assert entries["a"].d_type == 8


def test_locks(tmp_path: Path) -> None:
    """F_OFD_GETLK tells about the lock of another open file description."""
    path = tmp_path / "lock"
    path.touch()
    one, two = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    with closing(one, two):
        call(72, one, 37, structs.flock(l_type=fcntl.F_WRLCK, l_start=10, l_len=20))
        asked = structs.flock(l_type=fcntl.F_WRLCK)
        call(72, two, 36, asked)
        assert (asked.l_type, asked.l_start, asked.l_len, asked.l_pid) == (fcntl.F_WRLCK, 10, 20, -1)
        owner = structs.f_owner_ex(type=1, pid=os.getpid())
        call(72, one, 15, owner)
        seen = structs.f_owner_ex()
        call(72, one, 16, seen)
        assert seen == owner


def test_file_handle(tmp_path: Path) -> None:
    handle = structs.file_handle(handle_bytes=128)
    mount = ctypes.c_int()
    call(303, AT_FDCWD, os.fsencode(tmp_path) + b"\0", handle, mount, 0, absent=(errno.EOPNOTSUPP,))
    assert 0 < handle.handle_bytes <= 128
    assert any(handle.f_handle)


def test_vectors() -> None:
    """writev of bytes, readv into what may be written."""
    reader, writer = os.pipe()
    with closing(reader, writer):
        out = structs.iovecs(b"hello ", b"", b"world", read_only=True)
        assert call(20, writer, out, len(out)) == 11
        first, second = bytearray(4), bytearray(100)
        into = structs.iovecs(first, second)
        assert call(19, reader, into, len(into)) == 11
    assert bytes(first) == b"hell"
    assert bytes(second[:7]) == b"o world"


def test_limits_and_usage() -> None:
    limit = structs.rlimit()
    call(302, 0, resource.RLIMIT_NOFILE, None, limit)
    known = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert tuple(ctypes.c_long(v).value for v in (limit.rlim_cur, limit.rlim_max)) == known
    used = structs.rusage()
    call(98, 0, used)
    assert used.ru_maxrss >= 1000
    assert used.ru_minflt > 100


def test_scheduling() -> None:
    attr, param = structs.sched_attr(), structs.sched_param()
    assert call(315, 0, attr, attr.sizeof(), 0) == 0
    assert attr.size in (48, 56)
    assert attr.sched_policy == os.sched_getscheduler(0)
    call(143, 0, param)
    assert param.sched_priority == os.sched_getparam(0).sched_priority
    processors = structs.cpu_set()
    assert call(204, 0, processors.sizeof(), processors) >= 8
    assert set(processors) == os.sched_getaffinity(0)
    slice_ = structs.timespec()
    call(148, 0, slice_)
    assert 0 <= slice_.tv_nsec < 10**9


def test_sizes_that_the_kernel_tells() -> None:
    """perf_event_open, sched_setattr and prctl answer a wrong size with the kernel's own: at least that of ours."""
    perf = structs.perf_event_attr(size=1)
    with pytest.raises(OSError, match="too long"):
        call(298, perf, 0, -1, -1, 0, absent=(errno.EACCES, errno.EPERM))
    assert perf.size >= structs.perf_event_attr.SIZE_VER7
    if os.uname().release.startswith("6.18"):
        assert perf.size == structs.perf_event_attr.sizeof()
    attr = structs.sched_attr(size=1)
    with pytest.raises(OSError, match="too long"):
        call(314, 0, attr, 0)
    assert attr.size >= structs.sched_attr.sizeof()
    size = ctypes.c_uint()
    call(157, 35, 15, structs.address_of(size), 0, 0, absent=(errno.EINVAL,))
    assert size.value == structs.prctl_mm_map.sizeof()


def test_seccomp_sizes() -> None:
    sizes = structs.seccomp_notif_sizes()
    call(317, 3, 0, sizes)
    assert sizes.seccomp_notif == structs.seccomp_notif.sizeof()
    assert sizes.seccomp_notif_resp == structs.seccomp_notif_resp.sizeof()
    assert sizes.seccomp_data == structs.seccomp_data.sizeof()


def test_system() -> None:
    info, name = structs.sysinfo(), structs.utsname()
    call(99, info)
    assert info.totalram * info.mem_unit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert info.uptime > 0
    call(63, name)
    assert (name.sysname.decode(), name.release.decode()) == (os.uname().sysname, os.uname().release)


def test_epoll_poll_select() -> None:
    reader, writer = os.pipe()
    epoll = call(291, 0)
    with closing(reader, writer, epoll):
        call(233, epoll, 1, reader, structs.epoll_event(events=select.EPOLLIN, data=0x1122334455667788))
        os.write(writer, b"x")
        events = structs.epoll_event.array(4)
        assert call(281, epoll, events, 4, 0, None, 8) == 1
        assert events[0].data == 0x1122334455667788
        assert events[0].fd == 0x55667788
        assert events[0].events == select.EPOLLIN
        polled = structs.pollfd.array([structs.pollfd(fd=reader, events=1), structs.pollfd(fd=writer, events=1)])
        mask = structs.sigset([signal.SIGUSR1])
        assert call(271, polled, 2, structs.timespec(), mask, mask.sizeof()) == 1
        assert (polled[0].revents, polled[1].revents) == (1, 0)
        wanted = structs.fd_set([reader, writer])
        packed = structs.sigset_argpack.of([signal.SIGUSR1])
        assert call(270, writer + 1, wanted, None, None, structs.timespec(), packed) == 1
        assert list(wanted) == [reader]


def test_signal_structures() -> None:
    """Masks, actions, stacks, and a signal taken with rt_sigtimedwait and with a signalfd."""
    mask = structs.sigset()
    old = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        call(14, 0, None, mask, 8)
        assert signal.SIGUSR1 in mask
        os.kill(os.getpid(), signal.SIGUSR1)
        info = structs.siginfo()
        assert call(128, structs.sigset([signal.SIGUSR1]), info, structs.timespec(), 8) == signal.SIGUSR1
        assert (info.si_signo, info.si_code, info.si_pid, info.si_uid) == (10, 0, os.getpid(), os.getuid())
        queued = structs.siginfo(si_signo=10, si_code=-1, si_pid=os.getpid(), si_int=-5)
        call(129, os.getpid(), 10, queued)
        fd = call(289, -1, structs.sigset([signal.SIGUSR1]), 8, 0)
        with closing(fd):
            read = structs.signalfd_siginfo.from_bytes(os.read(fd, 128))
        assert (read.ssi_signo, read.ssi_code, read.ssi_int, read.ssi_pid) == (10, -1, -5, os.getpid())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    action = structs.sigaction()
    call(13, signal.SIGINT, None, action, 8)
    assert action.sa_handler > 4096
    assert action.sa_restorer > 4096
    call(131, None, structs.stack_t())


def test_waitid() -> None:
    """The status and the rusage of a child."""
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-I", "-S", "-c", "raise SystemExit(7)"])
    info, used = structs.siginfo(), structs.rusage()
    call(247, 1, pid, info, 4, used)
    assert (info.si_signo, info.si_code, info.si_pid, info.si_status) == (signal.SIGCHLD, 1, pid, 7)
    assert used.ru_maxrss > 0
    assert f"si_pid={pid}" in repr(info)
    assert "si_status=7" in repr(info)


def test_execve_strings(tmp_path: Path) -> None:
    """A child that runs execve with arrays of ours sees the arguments and the environment."""
    out = tmp_path / "out"
    code = "import os,sys; open(sys.argv[1],'w').write(repr((sys.argv[2:], os.environ['A'])))"
    argv = structs.string_array([sys.executable, "-I", "-c", code, out, "täxt", ""])
    envp = structs.string_array({"A": "b=c", "LC_ALL": "C.UTF-8"})
    name = os.fsencode(sys.executable) + b"\0"
    pid = os.fork()
    if pid == 0:
        try:
            libc.syscall(59, ctypes.c_char_p(name), argv, envp)
        finally:
            os._exit(99)
    assert os.waitpid(pid, 0)[1] == 0
    assert out.read_text() == "(['täxt', ''], 'b=c')"


def test_inotify(tmp_path: Path) -> None:
    fd = call(294, 0o4000)
    with closing(fd):
        call(254, fd, os.fsencode(tmp_path) + b"\0", 0x100)
        (tmp_path / "one").touch()
        (tmp_path / "another-name").touch()
        names = [(e.mask, n.rstrip(b"\0")) for e, n in structs.inotify_event.records(os.read(fd, 4096))]
    assert names == [(0x100, b"one"), (0x100, b"another-name")]


def test_socket_addresses(tmp_path: Path) -> None:
    """bind and getsockname: a path, an abstract name, IPv4, IPv6."""
    for address, family in ((str(tmp_path / "s"), 1), (b"\0rawsys-%d" % os.getpid(), 1), (("127.0.0.1", 0), 2)):
        sock = socket.socket(family, socket.SOCK_STREAM)
        with sock:
            given = structs.sockaddr(address)
            call(49, sock.fileno(), given, given.length())
            found, length = structs.sockaddr_storage(), ctypes.c_int(128)
            call(51, sock.fileno(), found, length)
            typed: Any = found.typed()
            assert type(typed) is type(given)
            assert typed.address(length.value) == sock.getsockname()
            if family == 1:
                assert length.value == given.length()
    six = structs.sockaddr(("fe80::1", 8080, 3, 4))
    assert isinstance(six, structs.sockaddr_in6)
    assert six.address() == ("fe80::1", 8080, 3, 4)
    assert bytes(six)[2:4] == (8080).to_bytes(2, "big")


def test_messages_with_descriptors() -> None:
    """sendmsg with SCM_RIGHTS, recvmsg, and the credentials of a peer."""
    one, two = socket.socketpair()
    reader, writer = os.pipe()
    with one, two, closing(reader, writer):
        rights = structs.cmsghdr.make(socket.SOL_SOCKET, socket.SCM_RIGHTS, bytes(ctypes.c_int(writer)))
        sent = structs.message([b"he", b"llo"], control=rights, read_only=True)
        assert call(46, one.fileno(), sent, 0) == 5
        room, control = bytearray(10), bytearray(64)
        got = structs.message([room], control=control)
        assert call(47, two.fileno(), got, 0) == 5
        assert room[:5] == b"hello"
        [(head, data)] = structs.control_messages(control, got.msg_controllen)
        assert (head.cmsg_level, head.cmsg_type, head.cmsg_len) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, 20)
        passed = int.from_bytes(data, sys.byteorder)
        with closing(passed):
            os.write(passed, b"through")
            assert os.read(reader, 10) == b"through"
        peer = structs.ucred.from_bytes(one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
        batch = structs.mmsghdr.array(2)
        for entry, text in zip(batch, (b"a", b"bcd"), strict=True):
            entry.msg_hdr.point("msg_iov", structs.iovecs(text, read_only=True))
            entry.msg_hdr.msg_iovlen = 1
        assert call(307, one.fileno(), batch, 2, 0) == 2
        assert [entry.msg_len for entry in batch] == [1, 3]


def test_system_v() -> None:
    """Queue, semaphores and shared memory: use and state."""
    queue = call(68, 0, 0o1600)
    try:
        message = structs.msgbuf.with_tail(b"text", mtype=3)
        call(69, queue, message, 4, 0)
        state = structs.msqid_ds()
        call(71, queue, 2, state)
        assert (state.msg_qnum, state.msg_cbytes, state.msg_lspid) == (1, 4, os.getpid())
        assert (state.msg_perm.uid, state.msg_perm.mode & 0o777) == (os.getuid(), 0o600)
        room = structs.msgbuf.with_tail(100)
        assert call(70, queue, room, 100, 0, 0) == 4
        assert (room.mtype, room.tail_bytes()[:4]) == (3, b"text")
    finally:
        call(71, queue, 0, None)
    semaphores = call(64, 0, 2, 0o1600)
    try:
        call(65, semaphores, structs.sembuf.array([structs.sembuf(sem_num=1, sem_op=5)]), 1)
        known = structs.semid_ds()
        call(66, semaphores, 0, 2, structs.address_of(known))
        assert known.sem_nsems == 2
        assert abs(known.sem_otime - time.time()) < 5
    finally:
        call(66, semaphores, 0, 0, 0)
    segment = call(29, 0, 8192, 0o1600)
    try:
        memory = structs.shmid_ds()
        call(31, segment, 2, memory)
        assert (memory.shm_segsz, memory.shm_cpid, memory.shm_nattch) == (8192, os.getpid(), 0)
    finally:
        call(31, segment, 0, None)


def test_message_queue() -> None:
    name = b"rawsys-%d\0" % os.getpid()
    wish = structs.mq_attr(mq_maxmsg=3, mq_msgsize=64)
    queue = call(240, name, os.O_RDWR | os.O_CREAT, 0o600, wish, absent=(errno.EACCES, errno.EPERM))
    with closing(queue):
        call(241, name)
        state = structs.mq_attr()
        call(245, queue, None, state)
        assert (state.mq_maxmsg, state.mq_msgsize, state.mq_curmsgs) == (3, 64, 0)


def test_capabilities() -> None:
    head, data = structs.cap_user_header(version=0x20080522), structs.cap_user_data.array(2)
    call(125, head, data)
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    assert data[0].effective | data[1].effective << 32 == effective


def test_cachestat(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 8192)
    fd = os.open(path, os.O_RDONLY)
    with closing(fd):
        os.read(fd, 8192)
        found = structs.cachestat()
        call(451, fd, structs.cachestat_range(), found, 0, absent=(errno.EOPNOTSUPP,))
        assert found.nr_cache == 2


def test_mounts() -> None:
    """statmount of the root mount, whose id statx gives, and listmount."""
    file = structs.statx()
    call(332, AT_FDCWD, b"/\0", 0, 0x4000, file)
    request = structs.mnt_id_req(size=32, mnt_id=file.stx_mnt_id, param=0x3F)
    found = structs.statmount.with_tail(4096)
    call(457, request, found, 512 + 4096, 0)
    assert found.mnt_id == file.stx_mnt_id
    assert found.string(found.mnt_point) == b"/"
    assert os.makedev(found.sb_dev_major, found.sb_dev_minor) == os.stat("/").st_dev
    assert found.string(found.fs_type).decode() in Path("/proc/self/mountinfo").read_text()


def test_security_modules() -> None:
    """lsm_get_self_attr fills contexts or there are none."""
    room, size = bytearray(4096), ctypes.c_uint32(4096)
    call(459, 100, room, size, 0, absent=(errno.EOPNOTSUPP,))
    for context, rest in structs.lsm_ctx.records(room, size.value):
        assert context.ctx_len <= len(rest)


def test_landlock() -> None:
    attr = structs.landlock_ruleset_attr(handled_access_fs=1)
    fd = call(444, attr, attr.SIZE_VER0, 0, absent=(errno.EOPNOTSUPP,))
    with closing(fd):
        parent = os.open("/", os.O_PATH)
        with closing(parent):
            call(445, fd, 1, structs.landlock_path_beneath_attr(allowed_access=1, parent_fd=parent), 0)


def test_io_uring() -> None:
    params = structs.io_uring_params()
    ring = call(425, 4, params, absent=(errno.EPERM,))
    with closing(ring):
        assert (params.sq_entries, params.cq_entries) == (4, 8)
        assert params.cq_off.cqes > 0
        assert params.sq_off.array > 0
        probe = structs.io_uring_probe()
        call(427, ring, 8, probe, 256)
        assert probe.last_op >= 30
        assert [op.op for op in probe.ops[:3]] == [0, 1, 2]


def test_aio() -> None:
    """io_submit reads from a file; io_getevents gives the event back."""
    context = (ctypes.c_uint64 * 1)()
    call(206, 4, context)
    try:
        with open(__file__, "rb") as file:
            room = bytearray(16)
            block = structs.iocb(aio_data=77, aio_lio_opcode=0, aio_fildes=file, aio_nbytes=16)
            block.point("aio_buf", room)
            blocks = (ctypes.c_uint64 * 1)(structs.address_of(block))
            assert call(209, context[0], 1, blocks) == 1
            events = structs.io_event.array(1)
            assert call(208, context[0], 1, 1, events, None) == 1
            assert (events[0].data, events[0].res, events[0].obj) == (77, 16, structs.address_of(block))
            assert room == Path(__file__).read_bytes()[:16]
    finally:
        call(207, context[0])


def test_futex_waitv() -> None:
    """A value that differs is EAGAIN at once."""
    word = (ctypes.c_uint32 * 1)(5)
    waiter = structs.futex_waitv.array(1)
    waiter[0].val, waiter[0].flags = 4, 2
    waiter[0].point("uaddr", word)
    with pytest.raises(BlockingIOError):
        call(449, waiter, 1, 0, None, 0)


def test_pidfd_info() -> None:
    """PIDFD_GET_INFO, with the size of each version in the number of the ioctl."""
    fd = os.pidfd_open(os.getpid())
    with closing(fd):
        for size in (structs.pidfd_info.SIZE_VER0, structs.pidfd_info.SIZE_VER1):
            info = structs.pidfd_info(mask=3)
            call(16, fd, 0xC000FF0B | size << 16, info, absent=(errno.ENOTTY, errno.EINVAL))
            assert (info.pid, info.tgid, info.ppid) == (os.getpid(), os.getpid(), os.getppid())
            assert (info.ruid, info.egid) == (os.getuid(), os.getegid())


def test_procmap_query() -> None:
    """The mapping that holds a buffer of ours."""
    room, name = bytearray(64), bytearray(256)
    with open("/proc/self/maps", "rb") as maps:
        query = structs.procmap_query(size=104, query_addr=structs.address_of(room), vma_name_size=256)
        query.point("vma_name_addr", name)
        call(16, maps.fileno(), 0xC0006611 | 104 << 16, query, absent=(errno.ENOTTY,))
    assert query.vma_start <= query.query_addr < query.vma_end
    assert query.vma_flags & 3 == 3


def test_attributes(tmp_path: Path) -> None:
    """setxattrat, getxattrat and file_getattr."""
    path = tmp_path / "f"
    path.touch()
    name, attribute = os.fsencode(path) + b"\0", b"user.rawsys\0"
    given = structs.xattr_args(size=5)
    given.point("value", b"value", read_only=True)
    call(463, AT_FDCWD, name, 0, attribute, given, given.sizeof(), absent=(errno.EOPNOTSUPP,))
    room = bytearray(10)
    taken = structs.xattr_args(size=10)
    taken.point("value", room)
    assert call(464, AT_FDCWD, name, 0, attribute, taken, taken.sizeof()) == 5
    assert room[:5] == b"value"
    attr = structs.file_attr()
    call(468, AT_FDCWD, name, attr, attr.sizeof(), 0, absent=(errno.EOPNOTSUPP, errno.ENOTTY))
    assert attr.fa_nextents < 10


def test_robust_list() -> None:
    """get_robust_list gives the head that libc registered."""
    head, length = (ctypes.c_uint64 * 1)(), ctypes.c_size_t()
    call(274, 0, head, length)
    assert length.value == structs.robust_list_head.sizeof()
    found = structs.robust_list_head.from_bytes(ctypes.string_at(head[0], length.value))
    assert found.list.next == head[0]


def test_ptrace() -> None:
    """The registers, the siginfo and the call of a child that stops itself."""
    pid = os.fork()
    if pid == 0:
        libc.syscall(101, 0, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        pytest.skip("no tracing here")
    try:
        registers = structs.user_regs_struct()
        call(101, 12, pid, 0, registers)
        assert (registers.cs, registers.ss) == (0x33, 0x2B)
        assert registers.orig_rax in (62, 234, 35, 61)
        floats = structs.user_fpregs_struct()
        call(101, 14, pid, 0, floats)
        assert floats.mxcsr & 0x1F80 == 0x1F80
        info = structs.siginfo()
        call(101, 0x4202, pid, 0, info)
        assert (info.si_signo, info.si_pid) == (signal.SIGSTOP, pid)
        stop = structs.ptrace_syscall_info()
        call(101, 0x420E, pid, stop.sizeof(), stop)
        assert (stop.op, stop.arch) == (0, 0xC000003E)
        assert stop.instruction_pointer == registers.rip
        rseq = structs.ptrace_rseq_configuration()
        assert call(101, 0x420F, pid, rseq.sizeof(), rseq, absent=(errno.EIO,)) == rseq.sizeof()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_quota_and_bpf_and_perf_are_read() -> None:
    """Calls that mostly need rights read their structure: the refusal is not EFAULT or EINVAL for its size."""
    attr = structs.bpf_map_create(map_type=2, key_size=4, value_size=8, max_entries=3)
    fd = call(321, 0, attr, attr.sizeof(), absent=(errno.EPERM,))
    with closing(fd):
        assert "max_entries:\t3" in Path(f"/proc/self/fdinfo/{fd}").read_text()
        key, value = (ctypes.c_uint32 * 1)(1), (ctypes.c_uint64 * 1)(99)
        element = structs.bpf_map_elem(map_fd=fd)
        element.point("key", key)
        element.point("value", value)
        call(321, 2, element, element.sizeof())
        value[0] = 0
        call(321, 1, element, element.sizeof())
        assert value[0] == 99
    whole = structs.bpf_attr(map_create=attr)
    with closing(call(321, 0, whole, whole.sizeof(), absent=(errno.E2BIG,))):
        pass


def test_perf_counts() -> None:
    """A software counter counts this thread's time."""
    attr = structs.perf_event_attr(type=1, size=136, config=1, exclude_kernel=True)
    fd = call(298, attr, 0, -1, -1, 8, absent=(errno.EACCES, errno.EPERM, errno.ENOENT, errno.E2BIG))
    with closing(fd):
        sum(range(10000))
        assert int.from_bytes(os.read(fd, 8), "little") > 0


def test_clone3_makes_a_child() -> None:
    """The pidfd arrives where the structure points, and the child's status is its own."""
    pidfd = ctypes.c_int(-1)
    args = structs.clone_args(flags=0x1000, exit_signal=signal.SIGCHLD)
    args.point("pidfd", pidfd)
    pid = libc.syscall(ctypes.c_long(435), ctypes.byref(args), ctypes.c_long(args.SIZE_VER2))
    if pid == 0:
        os._exit(5)
    if pid < 0:
        pytest.skip(f"clone3: {os.strerror(ctypes.get_errno())}")
    with closing(pidfd.value):
        done = os.waitid(os.P_PIDFD, pidfd.value, os.WEXITED)
        assert done is not None
        assert (done.si_pid, done.si_status) == (pid, 5)
