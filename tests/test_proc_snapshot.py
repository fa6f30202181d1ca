"""All processes at once: against psutil and ps, with names that mislead, in few calls, while processes come and go."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import INTERPRETER, in_child, need, script

from rawsys import proc
from rawsys.proc import Snapshot, Stat


@contextmanager
def forked(count: int = 1, name: bytes = b"a child") -> Iterator[list[int]]:
    """Children of a name that sleep until they are killed."""
    pids = []
    for _ in range(count):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                Path("/proc/self/comm").write_bytes(name)
                os.close(writer)
                while True:
                    signal.pause()
            finally:
                os._exit(0)
        pids.append(pid)
        os.close(writer)
        os.read(reader, 1)  # the end: it has its name
        os.close(reader)
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)


def test_psutil_agrees() -> None:
    """Every process that lives before and after both listings has the same parent, name, nice, start and state there."""
    psutil = pytest.importorskip("psutil")
    states = {v: k for k, v in psutil._pslinux.PROC_STATUSES.items()}
    with forked(20):
        before = {it.identity: it for it in proc.processes()}
        theirs = {
            p.pid: p.info
            for p in psutil.process_iter(["ppid", "name", "nice", "create_time", "status", "num_threads", "cpu_times"])
        }
        after = {it.identity: it for it in proc.processes()}
    boot = proc.system.stat().boot_time
    checked = 0
    for identity, it in after.items():
        old, other = before.get(identity), theirs.get(it.pid)
        if old is None or other is None or old[:1] + old[2:3] != it[:1] + it[2:3]:
            continue
        checked += 1
        name = other["name"]
        assert name == it.name or name.startswith(it.name)  # psutil takes a name of 15 bytes from the arguments
        assert other["ppid"] in (old.ppid, it.ppid)
        assert other["nice"] in (old.nice, it.nice)
        assert other["num_threads"] in (old.threads, it.threads) or it.threads != old.threads
        assert abs(other["create_time"] - boot - it.start_time) < 1.1
        assert old.user_time - 0.011 <= other["cpu_times"].user <= it.user_time + 0.011
        if old.state == it.state and it.state not in "RSD":
            assert states[other["status"]] == it.state
    assert checked >= 20


def test_ps_agrees() -> None:
    """What ps prints of children that stand still is the same, and none that it lists is missing."""
    ps = need("ps")
    with forked(5) as pids:
        text = subprocess.run(
            [ps, "-eo", "pid=,ppid=,pgid=,sess=,ni=,pri=,nlwp=,stat=,comm="], capture_output=True, text=True, check=True
        ).stdout
        ours = {it.pid: it for it in proc.processes()}
        rows = {int(row[0]): row for row in (line.split(None, 8) for line in text.splitlines())}
        for pid in pids:
            it, row = ours[pid], rows[pid]
            assert [str(it.ppid), str(it.group), str(it.session), str(it.nice)] == row[1:5]
            assert str(it.threads) == row[6]
            assert row[7][0] == it.state
            assert it.name == row[8]
        gone = [pid for pid in rows.keys() - ours.keys() if Path(f"/proc/{pid}").exists()]
        assert gone == []


@pytest.mark.parametrize("name", [b"a) R (", b"x y", b"new\nline", b") S 1 2 3", b"((", b"\xff\xfe"])
def test_names_that_mislead(name: bytes) -> None:
    """Edge case 110: a process chooses its name; parent, state and all the rest are right whatever it is."""
    with forked(1, name) as (pid,):
        (it,) = [found for found in proc.processes() if found.pid == pid]
        assert (os.fsencode(it.name), it.ppid, it.threads) == (name, os.getpid(), 1)
        assert proc.Process(pid).stat().name == proc.Process(pid).status().name == it.name


def test_processes_that_end_meanwhile() -> None:
    """While processes come and go in another thread, every snapshot is whole, without doubles, and has those that stay."""
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            subprocess.run(["true"], check=False)

    thread = threading.Thread(target=churn)
    with forked(3) as pids:
        thread.start()
        try:
            for _ in range(100):
                found = proc.processes()
                assert {*pids, os.getpid()} <= {it.pid for it in found}
                assert max(Counter(it.pid for it in found).values()) == 1
        finally:
            stop.set()
            thread.join()


def test_zombies_and_this_process_are_in_it() -> None:
    """Edge case 111: the lister is in its own listing; a zombie too, with its state."""
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    found = {it.pid: it for it in proc.processes()}
    os.waitpid(pid, 0)
    assert found[pid].state == "Z"
    assert found[os.getpid()].state == "R"
    assert sorted(found) == [it.pid for it in found.values()]


def test_calls_of_a_snapshot() -> None:
    """strace: at most 3.2 calls a process, where there are 200 of them."""
    strace = need("strace")
    code = script(
        """
        from rawsys import proc
        import os
        proc.processes()
        os.getpgid(0)
        n = len(proc.processes())
        os.getpgid(0)
        print(n)
        """
    )
    with forked(200):
        done = subprocess.run(
            [strace, "-o", "/dev/stderr", INTERPRETER, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    if done.returncode:
        pytest.skip(f"strace does not run here: {done.stderr[-200:]}")
    calls = re.split(r"^getpgid\(0\).*$", done.stderr, flags=re.MULTILINE)[1].strip().splitlines()
    assert len(calls) / int(done.stdout) <= 3.2, Counter(line.partition("(")[0] for line in calls)


# ---- trees ----


def _stat(pid: int, ppid: int, used: float = 0.0, start: float = 0.0) -> Stat:
    empty = dict.fromkeys(Stat._fields, 0) | {"name": "x", "state": "S"}
    return Stat(**empty | {"pid": pid, "ppid": ppid, "user_time": used, "start_time": start})


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(*(st.integers(0, pid) for pid in range(n)))))
def test_a_tree_has_each_process_once(parents: tuple[int, ...]) -> None:
    """Whatever the parents are, each process is in the tree once, one deeper than its parent, and behind it."""
    flat = [_stat(pid, ppid) for pid, ppid in enumerate(parents, 1)]
    rows = [row for tree in proc.process_tree(flat) for row in tree.walk()]
    depth = {it.pid: level for level, it in rows}
    assert sorted(depth) == [it.pid for it in flat]
    assert len(rows) == len(flat)
    order = [it.pid for _, it in rows]
    for it in flat:
        if it.ppid in depth and it.ppid != it.pid:
            assert depth[it.pid] == depth[it.ppid] + 1
            assert order.index(it.ppid) < order.index(it.pid)
        else:
            assert depth[it.pid] == 0


def test_a_long_chain() -> None:
    """A chain of 20,000 processes does not end at Python's recursion limit."""
    (tree,) = proc.process_tree([_stat(pid, pid - 1) for pid in range(1, 20_001)])
    assert max(depth for depth, _ in tree.walk()) == 19_999


def test_the_tree_of_the_machine() -> None:
    """This process is below its parent, with its children below it."""
    with forked() as (pid,):
        path: list[int] = []
        for tree in proc.process_tree():
            for depth, it in tree.walk():
                del path[depth:]
                path.append(it.pid)
                if it.pid == pid:
                    assert path[-2] == os.getpid()
                    return
    pytest.fail("the child is not in the tree")


# ---- processor time ----


def test_cpu_percent() -> None:
    """The share of a processor that a process had; a number that another one had, and a new process, count from their start."""
    before = Snapshot([_stat(1, 0, 5.0), _stat(2, 0, 3.0, 1.0), _stat(3, 0, 7.0)], 10.0)
    after = Snapshot([_stat(1, 0, 6.0), _stat(2, 0, 0.5, 9.0), _stat(4, 0, 0.25, 11.0)], 12.0)
    assert proc.cpu_percent(before, after) == {1: 50.0, 2: 25.0, 4: 12.5}
    with pytest.raises(ValueError, match="not taken after"):
        proc.cpu_percent(after, before)

    def mine() -> tuple[float, float]:
        first, used = proc.processes(), time.process_time()
        while time.process_time() - used < 0.3:
            pass
        second = proc.processes()
        used = time.process_time() - used
        return proc.cpu_percent(first, second)[os.getpid()], used * 100 / (second.taken - first.taken)

    found, want = in_child(mine)
    assert abs(found - want) < 12
