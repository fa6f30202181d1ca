"""Scheduling of threads on the real kernel: affinity, policy, attributes, nice, name, and the CPUs there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import in_child

from rawsys import constants, raw, sched


@pytest.fixture
def other() -> Iterator[int]:
    """The tid of a thread that waits until the test is over."""
    ready, done = threading.Event(), threading.Event()
    tids: list[int] = []

    def body() -> None:
        tids.append(threading.get_native_id())
        ready.set()
        done.wait()

    thread = threading.Thread(target=body)
    thread.start()
    ready.wait()
    yield tids[0]
    done.set()
    thread.join()


def no_thread() -> int:
    """A number that no thread has."""
    return int(Path("/proc/sys/kernel/pid_max").read_text()) - 1


def test_affinity_of_one_thread_is_its_own(other: int) -> None:
    """It is set for that thread alone, and what was asked of CPUs that do not exist is told (edge 102)."""
    mine = sched.affinity()
    assert mine == os.sched_getaffinity(0)
    one = min(mine)
    assert sched.set_affinity({one, 4000}, other) == {one}
    assert sched.affinity(other) == os.sched_getaffinity(other) == {one}
    assert sched.affinity() == mine
    assert sched.set_affinity(iter(mine), other) == mine


def test_impossible_affinities(other: int) -> None:
    """Edge 102: an empty set, only CPUs that do not exist, no such thread, negative numbers."""
    for cpus in ((), {4000}, {1 << 19}, {1 << 40}):
        with pytest.raises(OSError) as caught:
            sched.set_affinity(cpus, other)
        assert caught.value.errno == 22
    with pytest.raises(ProcessLookupError):
        sched.affinity(no_thread())
    with pytest.raises(ProcessLookupError):
        sched.set_affinity({0}, no_thread())
    with pytest.raises(ValueError):
        sched.set_affinity({-1})
    with pytest.raises(TypeError):
        sched.set_affinity({True})


def test_masks_of_more_than_1024_cpus() -> None:
    """The mask has as many words as its highest CPU needs, and the buffer for the answer grows until it fits."""
    assert sched.mask_of({0, 64, 1500}) == (1 | 1 << 64 | 1 << 1500).to_bytes(192, "little")
    assert sched.mask_of(()) == bytes(8)
    answers = [-22, -22, 64]
    sizes = []

    def kernel(tid: int, size: int, mask: bytearray) -> int:
        sizes.append(size)
        mask[0] = 5
        return answers[len(sizes) - 1]

    real, raw.sched_getaffinity = raw.sched_getaffinity, kernel  # type: ignore[assignment]
    try:
        assert sched.affinity() == {0, 2}
    finally:
        raw.sched_getaffinity = real  # type: ignore[assignment]
    assert sizes == [128, 256, 512]


def test_masks_that_the_kernel_refuses() -> None:
    """Edge 102: a buffer that is no multiple of 8 bytes, or too short for the CPUs there are, is EINVAL."""
    assert raw.sched_getaffinity(0, 12, bytearray(12)) == -22
    assert raw.sched_getaffinity(0, 0, bytearray(8)) == -22
    assert raw.sched_getaffinity(0, 128, bytearray(128)) > 0


def test_affinity_is_inherited() -> None:
    """Edge 103: threads and processes start with the CPUs of the thread that made them."""

    def body() -> list[frozenset[int]]:
        from rawsys import ThreadHandle

        one = {max(sched.affinity())}
        sched.set_affinity(one)
        thread = ThreadHandle.spawn(sched.affinity).join()
        return [sched.affinity() - one, thread - one, in_child(sched.affinity) - one]

    assert in_child(body) == [frozenset()] * 3


def test_policy_and_nice_of_another_thread(other: int) -> None:
    """BATCH and a nice value reach that thread and no other."""
    sched.set_policy(constants.SCHED_BATCH, tid=other, reset_on_fork=True)
    assert sched.policy(other) == (constants.SCHED_BATCH, 0, True)
    assert os.sched_getscheduler(other) & 0xFF == os.SCHED_BATCH
    sched.set_nice(7, other)
    assert sched.nice(other) == os.getpriority(os.PRIO_PROCESS, other) == 7
    assert sched.policy() == (constants.SCHED_OTHER, 0, False)
    assert sched.nice() == os.getpriority(os.PRIO_PROCESS, 0)
    with pytest.raises(OSError):
        sched.set_policy(constants.SCHED_BATCH, 5, other)
    with pytest.raises(ProcessLookupError):
        sched.policy(no_thread())


def test_attributes_change_one_by_one(other: int) -> None:
    """set_attr leaves what it is not given: nice keeps BATCH, a policy by itself starts from its defaults."""
    sched.set_attr(other, policy=constants.SCHED_BATCH, nice=3)
    sched.set_attr(other, nice=5)
    found = sched.attr(other)
    assert (found.sched_policy, found.sched_nice) == (constants.SCHED_BATCH, 5)
    try:
        sched.set_attr(other, util_max=512)
    except OSError as error:
        assert error.errno == 95  # a kernel without clamps
    else:
        assert sched.attr(other).sched_util_max == 512
    assert sched.attr(other).sched_nice == 5
    with pytest.raises(OSError):
        sched.set_attr(other, util_max=5000)


def test_deadline_policy() -> None:
    """A deadline reservation is made and read back, where the kernel allows it; EPERM where it does not."""

    def body() -> None:
        try:
            sched.set_attr(
                policy=constants.SCHED_DEADLINE, runtime_ns=100_000, deadline_ns=10_000_000, period_ns=20_000_000
            )
        except OSError as error:
            assert error.errno in (1, 16)
            return
        found = sched.attr()
        assert (found.sched_policy, found.sched_runtime, found.sched_period) == (6, 100_000, 20_000_000)

    in_child(body)


def test_real_time_needs_a_privilege() -> None:
    """An ordinary user without RLIMIT_RTPRIO gets EPERM for FIFO and EACCES for a better nice value."""

    def body() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
        resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        if os.getuid() == 0:
            os.setuid(65534)
        with pytest.raises(PermissionError):
            sched.set_policy(constants.SCHED_FIFO, 1)
        sched.set_nice(5)
        with pytest.raises(PermissionError):
            sched.set_nice(0)
        with pytest.raises(OSError):
            sched.set_policy(constants.SCHED_FIFO, 0)

    in_child(body)


@pytest.mark.parametrize("text", ["worker", "", "fifteen bytes..", "two\nlines", "h\udcffx", "ä"])
def test_names(other: int, text: str) -> None:
    """Edge 104: 15 bytes, a newline, bytes that are no UTF-8; of one's own and of another thread."""
    sched.set_name(text, other)
    assert sched.name(other) == text
    before = sched.name()
    sched.set_name(text)
    try:
        assert sched.name() == sched.name(raw.gettid()) == text
    finally:
        sched.set_name(before)


def test_names_that_the_kernel_would_cut() -> None:
    """Edge 104: 16 bytes are ERANGE, not a silent cut; a NUL is ValueError; other processes cannot be named."""
    for text in ("x" * 16, "ä" * 8):
        with pytest.raises(OSError) as caught:
            sched.set_name(text)
        assert caught.value.errno == 34
    with pytest.raises(ValueError):
        sched.set_name("a\0b")
    with pytest.raises(OSError):
        sched.set_name("init?", 1)


def test_getcpu_and_yield() -> None:
    """getcpu is one of the CPUs that are allowed."""
    sched.sched_yield()
    cpu, node = sched.getcpu()
    assert cpu in sched.affinity()
    assert node >= 0


def test_cpus_as_the_kernel_tells() -> None:
    """allowed is the affinity, online /sys's list; each CPU knows its core, its siblings and its caches."""
    found = sched.cpus()
    assert found.allowed == os.sched_getaffinity(0)
    assert found.allowed <= found.online
    assert len(found.online) == os.sysconf("SC_NPROCESSORS_ONLN")
    assert set(found.topology) == found.online
    for number, cpu in found.topology.items():
        folder = f"/sys/devices/system/cpu/cpu{number}"
        if os.path.exists(f"{folder}/topology/core_id"):
            assert cpu.core == int(Path(f"{folder}/topology/core_id").read_text())
            assert number in cpu.siblings
        for cache in cpu.caches:
            assert number in cache.shared_with
            assert cache.size is None or cache.size % 1024 == 0


def test_lists_of_the_kernel() -> None:
    """The format of /sys and cpuset files."""
    assert sched.parse_list("0-3,8,10-11\n") == {0, 1, 2, 3, 8, 10, 11}
    assert sched.parse_list("\n") == frozenset()
    with pytest.raises(ValueError):
        sched.parse_list("0-x")
