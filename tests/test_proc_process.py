"""One process: every method of Process against the process itself, psutil and lsof; and what has ended."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import fail_calls, in_child, need, need_root, until_blocked

from rawsys import Fd, proc, raw
from rawsys.signals import SignalSet, blocked


@contextmanager
def waiting(*command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A child that waits in read."""
    child = subprocess.Popen(command or ["cat"], stdin=-1, stdout=-1, **options)  # type: ignore[call-overload]
    assert child.stdin and child.stdout
    child.stdin.write(b"x")
    child.stdin.flush()
    child.stdout.read(1)  # it runs: exec is through
    try:
        yield child
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()


# ---- this process ----


def test_this_process() -> None:
    """Identity, arguments, directory, program and threads are what Python says of itself."""
    it = proc.Process()
    stat, status = it.stat(), it.status()
    assert it.pid == stat.pid == status.pid == status.tgid == os.getpid()
    assert stat.ppid == status.ppid == os.getppid()
    assert (stat.group, stat.session) == (os.getpgid(0), os.getsid(0))
    assert stat.nice == os.getpriority(os.PRIO_PROCESS, 0)
    assert it.directory() == str(Path.cwd())
    assert it.executable() == os.path.realpath("/proc/self/exe")
    assert stat.threads == status.threads == len(it.tasks()) == len(os.listdir("/proc/self/task"))
    assert abs(stat.user_time + stat.system_time - sum(os.times()[:2])) < 0.1
    assert stat.name == status.name == Path("/proc/self/comm").read_text().removesuffix("\n")
    assert it == proc.Process(os.getpid()) == proc.Process(it)
    assert hash(it) == hash(proc.Process())
    assert it != 7
    assert it.is_running()
    assert repr(it) == f"<Process {os.getpid()} {stat.name!r}: R>"


def test_environment_and_arguments(tmp_path: Path) -> None:
    """What a program was started with, whatever characters are in it; of two equal names the first counts."""
    environment = {b"A": b"b=c", b"EMPTY": b"", b"LINES": b"1\n2", b"\xff": b"\xfe"}
    script = "import sys; sys.stdout.write(sys.stdin.read(1)); sys.stdout.flush(); sys.stdin.read()"
    with waiting(os.path.realpath("/proc/self/exe"), "-IS", "-c", script, "a b", "", "c\nd", env=environment) as child:
        it = proc.Process(child.pid)
        assert {os.fsencode(k): os.fsencode(v) for k, v in it.environ().items()} == environment
        assert it.cmdline()[1:] == ["-IS", "-c", script, "a b", "", "c\nd"]


def test_memory_and_io() -> None:
    """statm, status and io agree with each other and with what was done."""
    with waiting() as child:
        it = proc.Process(child.pid)
        statm, status, stat, totals, io = it.statm(), it.status(), it.stat(), it.memory_totals(), it.io()
        assert statm.virtual == status.virtual == stat.virtual == sum(r.size for r in it.maps() if r.kind != "vsyscall")
        assert statm.resident == status.rss == status.rss_anonymous + status.rss_file + status.rss_shared == totals.rss
        assert abs(stat.rss - statm.resident) <= 64 * 4096 * (os.cpu_count() or 1) * 3
        assert it.maps() == proc.maps(child.pid)
        assert [part.region for part in it.smaps()] == it.maps()
        assert io.reads >= 1
        assert io.read_chars >= 1
        assert io.writes == io.written_chars == 1


def test_limits() -> None:
    """All sixteen limits, by name, None for no limit."""
    found = proc.Process().limits()
    assert len(found) == 16
    for name, limit in found.items():
        number = getattr(resource, name, None)
        if number is not None:
            want = tuple(None if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(number))
            assert (limit.soft, limit.hard) == want, name
    assert found["RLIMIT_NOFILE"].unit == "files"


def test_signals() -> None:
    """Caught, ignored, blocked and pending signals are the sets that were made."""

    def mine() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with blocked(["SIGUSR2", "SIGRTMIN+3"]):
            os.kill(os.getpid(), signal.SIGUSR2)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGRTMIN + 3)
            status = proc.Process().status()
            assert "SIGUSR1" in status.caught
            assert "SIGHUP" in status.ignored
            assert {"SIGUSR2", "SIGRTMIN+3"} <= set(status.blocked.names)
            assert status.shared_pending == SignalSet(["SIGUSR2"])
            assert status.pending == SignalSet(["SIGRTMIN+3"])
            assert status.queued_signals >= 1
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            signal.signal(signal.SIGRTMIN + 3, signal.SIG_IGN)

    in_child(mine)


def test_credentials() -> None:
    """Users, groups, capabilities and no_new_privs are those that were set."""
    need_root()

    def mine() -> None:
        os.setgroups([7, 8])
        os.setresgid(1, 2, 3)
        os.setresuid(4, 5, 6)
        raw.prctl(38, 1, 0, 0, 0)
        who = proc.Process().credentials()
        assert who == proc.Process().status().credentials
        assert (who.uid[:3], who.gid[:3], who.groups) == ((4, 5, 6), (1, 2, 3), (7, 8))
        assert who.capabilities.effective == who.capabilities.permitted == ()
        assert [cap.name for cap in who.capabilities.bounding][:2] == ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]
        assert who.no_new_privs
        assert who.seccomp == 0
        fail_calls(38, 335)
        assert proc.Process().credentials().seccomp == 2

    in_child(mine)


def test_scheduling() -> None:
    """Policy, nice and processors are those that were set; time that was spent is counted in nanoseconds."""

    def mine() -> None:
        os.nice(5)
        cpu = min(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        before = proc.Process().scheduling()
        assert (before.policy.name, before.nice - start, before.rt_priority) == ("SCHED_BATCH", 5, 0)
        assert before.cpus_allowed == (cpu,)
        assert before.processor == cpu
        sum(range(10**6))
        assert proc.Process().scheduling().run_time > before.run_time > 0

    start = os.getpriority(os.PRIO_PROCESS, 0)
    in_child(mine)


def test_descriptors(tmp_path: Path) -> None:
    """Kind, target, flags, position and details of each open file; not the descriptor of the listing (edge case 111)."""

    def mine() -> None:
        file = os.open(tmp_path / "a b", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        os.write(file, b"12345")
        made = {
            file: "file", os.open(tmp_path, os.O_RDONLY): "directory", os.open("/dev/null", os.O_WRONLY): "device",
            os.eventfd(7): "eventfd", os.pidfd_open(os.getpid()): "pidfd", os.memfd_create("m"): "memfd",
        }  # fmt: skip
        made.update(dict.fromkeys(os.pipe(), "pipe"))
        before = set(map(int, os.listdir("/proc/self/fd")))
        found = {open_file.fd: open_file for open_file in proc.Process().fds()}
        assert {fd: found[fd].kind for fd in made} == made
        assert found[file].target == str(tmp_path / "a b")
        assert found[file].position == 5
        assert found[file].flags & (os.O_ACCMODE | os.O_APPEND | os.O_CLOEXEC) == os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
        event = next(open_file for open_file in found.values() if open_file.kind == "eventfd")
        assert int(event.details["eventfd-count"], 16) == 7
        assert len(before - found.keys()) == 1  # the one of os.listdir
        assert not found.keys() - before

    in_child(mine)


def test_lsof_agrees(tmp_path: Path) -> None:
    """The numbers and names that lsof lists of a child are the ones here."""
    lsof = need("lsof")
    (tmp_path / "x").write_bytes(b"")
    one = os.open(tmp_path / "x", os.O_RDONLY)
    with waiting(pass_fds=[one]) as child:
        text = subprocess.run(
            [lsof, "-a", "-p", str(child.pid), "-d", "0-999", "-Ffn"], capture_output=True, text=True, check=False
        ).stdout
        theirs = dict(re.findall(r"^f(\d+)\nn(.*)$", text, re.MULTILINE))
        ours = {str(found.fd): found.target for found in proc.Process(child.pid).fds()}
    os.close(one)
    if not theirs:
        pytest.skip("lsof lists nothing here")
    assert theirs.keys() == ours.keys()
    assert theirs[str(one)] == ours[str(one)] == str(tmp_path / "x")


def test_tasks() -> None:
    """Each thread by its number and name; a Process of a thread's number tells that thread's."""
    reader, writer = os.pipe()
    numbers: list[int] = []

    def wait() -> None:
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("one thread")
        numbers.append(threading.get_native_id())
        os.read(reader, 1)

    thread = threading.Thread(target=wait)
    thread.start()
    while not numbers:
        os.sched_yield()
    until_blocked(numbers[0], 0)
    try:
        found = {task.pid: task.name for task in proc.Process().tasks()}
        assert found.keys() == {int(name) for name in os.listdir("/proc/self/task")}
        assert found[numbers[0]] == "one thread"
        it = proc.Process(numbers[0])
        assert (it.stat().name, it.status().tgid, it.status().pid) == ("one thread", os.getpid(), numbers[0])
        assert it.pid not in proc.pids()
    finally:
        os.write(writer, b"x")
        thread.join()
        os.close(reader)
        os.close(writer)


def test_places() -> None:
    """Control groups, namespaces and mounts are those of /proc."""
    it = proc.Process()
    assert [f"{c.hierarchy}:{','.join(c.controllers)}:{c.path}" for c in it.cgroup()] == Path(
        "/proc/self/cgroup"
    ).read_text().splitlines()
    spaces = it.namespaces()
    assert {n.inode for n in spaces.values()} == {os.stat(f"/proc/self/ns/{name}").st_ino for name in spaces}
    root = [mount for mount in it.mounts() if mount.point == "/"][-1]
    assert root.device == os.stat("/").st_dev or root.filesystem in ("btrfs", "overlay")
    assert {m.point for m in it.mounts()} == {m.point for m in proc.system.mounts()}


def test_mount_points_with_strange_names(tmp_path: Path) -> None:
    """A space, a newline and a backslash in a mount point are right."""
    need_root()
    place = tmp_path / "a b\nc\\d"
    place.mkdir()

    def mine() -> None:
        if raw.unshare(0x20000) or raw.mount("none", "/", "none", 0x44000, None):  # CLONE_NEWNS; MS_REC | MS_PRIVATE
            pytest.skip("no mount namespace")
        if raw.mount("some\nthing", place, "tmpfs", 0, None):
            pytest.skip("no tmpfs")
        (found,) = [mount for mount in proc.Process().mounts() if mount.point == str(place)]
        assert (found.filesystem, found.source) == ("tmpfs", "some\nthing")
        assert found.device == os.stat(place).st_dev

    in_child(mine)


def test_children() -> None:
    """Children by identity; with recursive also theirs."""
    with waiting("sh", "-c", "cat; exit 0") as child:
        me, shell = proc.Process(), proc.Process(child.pid)
        assert child.pid in [found.pid for found in me.children()]
        (cat,) = shell.children()
        assert cat.name == "cat"
        assert cat.pid not in [found.pid for found in me.children()]
        assert cat.pid in [found.pid for found in me.children(recursive=True)]


# ---- what has ended ----


def test_a_zombie_and_then_nothing() -> None:
    """A zombie has a stat, a status and no memory; after it was waited for, every method is ProcessLookupError."""
    with waiting() as child:
        it = proc.Process(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert it.stat().state == it.status().state == "Z"
        assert os.waitstatus_to_exitcode(it.stat().exit_code) in (-9, 0)  # shown to those who may trace it
        assert not it.is_running()
        assert (it.cmdline(), it.environ(), it.maps(), it.mounts()) == ([], {}, [], [])
        assert (it.executable(), it.directory()) == (None, None)
        assert it.children() == []
        child.wait()
    asked = (
        it.stat, it.status, it.statm, it.io, it.limits, it.cmdline, it.environ, it.fds, it.tasks, it.cgroup, it.namespaces, it.mounts,
        it.credentials, it.scheduling, it.children, it.maps, it.smaps, it.memory_totals, it.executable, it.directory,
    )  # fmt: skip
    for ask in asked:
        with pytest.raises(ProcessLookupError):
            ask()
    assert not it.is_running()
    assert repr(it) == f"<Process {it.pid}: ended>"
    with pytest.raises(ProcessLookupError):
        proc.Process(it.pid)


def test_a_number_that_somebody_else_has() -> None:
    """Edge case 111: when the number was given to another process, the old one has ended, and they are not equal."""
    need_root()

    def mine() -> None:
        if raw.unshare(0x20000000 | 0x20000):  # CLONE_NEWPID | CLONE_NEWNS
            pytest.skip("no pid namespace")
        done = os.fork()
        if done:
            status = os.waitstatus_to_exitcode(os.waitpid(done, 0)[1])
            if status == 77:
                pytest.skip("no /proc of its own, or the number cannot be chosen")
            assert status == 0
            return
        code = 1
        try:
            code = reused()
        finally:
            os._exit(code)

    def reused() -> int:
        if raw.mount("none", "/", "none", 0x44000, None) or raw.mount("proc", "/proc", "proc", 0, None):
            return 77
        first = sleeper()
        old = proc.Process(first)
        end(first)
        while proc.system.uptime().up < old.start_time + 0.03:
            os.sched_yield()  # the kernel's clock of start times has steps of 0.01 s
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(first - 1))
        except OSError:
            return 77
        second = sleeper()
        if second != first:
            return 77
        new = proc.Process(second)
        problems = [new == old, old.is_running(), new.pid != old.pid]
        for ask in (old.stat, old.cmdline, old.maps, old.fds, old.tasks, old.namespaces):
            try:
                ask()
                problems.append(True)
            except ProcessLookupError:
                pass
        end(second)
        return 2 if any(problems) else 0

    def sleeper() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        return pid

    def end(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    in_child(mine)


def test_another_users_process() -> None:
    """What needs the right to trace it is PermissionError; the rest is told."""
    need_root()

    def ordinary() -> list[str]:
        os.setgid(65534)
        os.setuid(65534)
        it = proc.Process(pid)
        assert it.stat().pid == it.status().pid == pid
        assert it.cmdline() == ["cat"]
        assert it.limits()
        assert it.tasks()
        refused = []
        for ask in (it.io, it.environ, it.fds, it.maps, it.executable):
            try:
                ask()
            except PermissionError:
                refused.append(ask.__name__)
        return refused

    with waiting() as child:
        pid = child.pid
        assert in_child(ordinary) == ["io", "environ", "fds", "maps", "executable"]


def test_hidepid() -> None:
    """Where /proc is mounted with hidepid, other users' processes are not there: left out, and ProcessLookupError."""
    need_root()

    def mine() -> None:
        if raw.unshare(0x20000) or raw.mount("none", "/", "none", 0x44000, None):
            pytest.skip("no mount namespace")
        if raw.mount("proc", "/proc", "proc", 0, b"hidepid=2\0"):
            pytest.skip("no proc with hidepid")
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        assert pid not in proc.pids()
        assert pid not in [found.pid for found in proc.processes()]
        assert os.getpid() in [found.pid for found in proc.processes()]
        with pytest.raises(ProcessLookupError):
            proc.Process(pid)
        with pytest.raises(ProcessLookupError):
            proc.maps(pid)

    with waiting() as child:
        pid = child.pid
        in_child(mine)


def test_nothing_stays_open() -> None:
    """A Process holds no descriptor, and a failed question leaves none."""
    before = os.listdir("/proc/self/fd")
    it = proc.Process()
    for ask in (it.fds, it.tasks, it.namespaces, it.maps, it.status):
        ask()
    with pytest.raises(ProcessLookupError):
        proc.Process(2**31 - 1)
    assert os.listdir("/proc/self/fd") == before
    with Fd.open("/dev/null") as fd:
        assert fd.fileno() in [found.fd for found in it.fds()]


# ---- the machine ----


def test_system() -> None:
    """Times, memory, load, start of the machine are what psutil and Python say."""
    psutil = pytest.importorskip("psutil")
    stat, memory = proc.system.stat(), proc.system.meminfo()
    assert stat.boot_time == int(psutil.boot_time())
    assert len(stat.cpus) == psutil.cpu_count()
    assert abs(stat.cpu.user - psutil.cpu_times().user) < 5
    assert abs(stat.cpu.idle - psutil.cpu_times().idle) < 5
    assert stat.context_switches > 0
    assert memory["MemTotal"] == psutil.virtual_memory().total
    assert memory["HugePages_Total"] >= 0
    load = proc.system.loadavg()
    assert abs(load.one - os.getloadavg()[0]) < 2
    assert load.threads >= load.running >= 1
    assert proc.system.uptime().up > 0
    for pressure in proc.system.pressure().values():
        assert 0 <= pressure.some.avg10 <= 100
    assert {(m.point, m.filesystem) for m in proc.system.mounts()} >= {
        (p.mountpoint, p.fstype) for p in psutil.disk_partitions()
    }


def _told(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - psutil has its own
        name = type(error).__name__
        return {
            "NoSuchProcess": "gone",
            "ProcessLookupError": "gone",
            "ZombieProcess": "gone",
            "AccessDenied": "PermissionError",
        }.get(name, name)


def test_psutil_agrees_on_every_process() -> None:
    """For all processes of the machine: arguments, program, directory, users, threads, processors, descriptors, environment."""
    psutil = pytest.importorskip("psutil")
    checked = 0
    for pid in proc.pids():
        try:
            ours, theirs = proc.Process(pid), psutil.Process(pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
        pairs: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (lambda ours=ours: tuple(ours.credentials().uid[:3]), lambda theirs=theirs: tuple(theirs.uids())),
            (lambda ours=ours: tuple(ours.credentials().gid[:3]), lambda theirs=theirs: tuple(theirs.gids())),
            (
                lambda ours=ours: {task.pid for task in ours.tasks()},
                lambda theirs=theirs: {t.id for t in theirs.threads()},
            ),
            (lambda ours=ours: list(ours.scheduling().cpus_allowed), lambda theirs=theirs: theirs.cpu_affinity()),
            (
                lambda ours=ours: (ours.directory() or "").removesuffix(" (deleted)"),  # which psutil takes off
                lambda theirs=theirs: theirs.cwd(),
            ),
            (lambda ours=ours: len(ours.fds()) + (ours.pid == os.getpid()), lambda theirs=theirs: theirs.num_fds()),
            (lambda ours=ours: ours.environ(), lambda theirs=theirs: theirs.environ()),
            (
                lambda ours=ours: ours.statm()[:4],
                lambda theirs=theirs: tuple(theirs.memory_info()[i] for i in (1, 0, 2, 3)),
            ),
            (
                lambda ours=ours: ours.memory_totals()[:3],
                lambda theirs=theirs: tuple(theirs.memory_full_info()[i] for i in (0, 8, 7)),
            ),
        ]
        for ask, oracle in pairs:
            for _ in range(50):  # a process that runs changes between two questions
                mine, other = _told(ask), _told(oracle)
                if (
                    mine == other or "gone" in (mine, other) or mine == "PermissionError"
                ):  # psutil counts what it cannot see
                    break
            else:
                assert mine == other, (ours, mine, other)
            checked += 1
    assert checked > 9


def test_lsof_agrees_on_every_process() -> None:
    """All descriptors that lsof lists, of every process that stands still, are here with the same names, and no others."""
    lsof = need("lsof")

    def listing() -> dict[int, set[str]]:
        text = subprocess.run(
            [lsof, "-nP", "-d", "0-99999", "-Fpf"], capture_output=True, text=True, check=False
        ).stdout
        found: dict[int, set[str]] = {}
        pid = 0
        for line in text.splitlines():
            if line[0] == "p":
                pid = int(line[1:])
            elif line[0] == "f":
                found.setdefault(pid, set()).add(line[1:])
        return found

    before, ours = listing(), {}
    for pid in before.keys() - {os.getpid()}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            ours[pid] = {str(file.fd) for file in proc.Process(pid).fds()}
    after = listing()
    still = [pid for pid, found in ours.items() if before[pid] == after.get(pid)]
    assert {pid: ours[pid] for pid in still} == {pid: before[pid] for pid in still}
    assert still or not before
