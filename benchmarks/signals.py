"""Signals: what a delivery costs, what the handler itself does, and how soon somebody hears of it."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from collections.abc import Callable
from time import perf_counter_ns

import rawsys
from benchmarks.harness import Missing, Setting, Sides, Topic, peer
from rawsys.bench import Side, loop
from rawsys.constants import SIGHUP, SIGRTMIN, SIGUSR1, SIGUSR2
from rawsys.signals import SignalCounter, SignalFlag, SignalQueue, blocked, raw_sigaction

TOPIC = Topic("signals", "signals")

_OURS, _THEIRS = int(SIGRTMIN + 1), int(SIGRTMIN + 2)
_CHUNK = 1000


def _python_handler(setting: Setting, number: int) -> None:
    """A handler that counts, in Python, until the row is measured."""
    seen = 0

    def count(number: int, frame: object) -> None:
        nonlocal seen
        seen += 1

    setting.callback(signal.signal, number, signal.signal(number, count))


@TOPIC.row("delivery counted")
def counted(setting: Setting) -> Sides:
    """A signal to oneself, counted by the time the next line runs."""
    setting.enter_context(SignalCounter(SIGUSR1))
    _python_handler(setting, SIGUSR2)
    pid = os.getpid()
    ours = loop("f(pid, n)", f=rawsys.raw_kill, pid=pid, n=int(SIGUSR1))
    return Sides(
        ours, [peer("signal.signal, os.kill", loop("f(pid, n)", f=os.kill, pid=pid, n=int(SIGUSR2)), "<= 0.85")]
    )


@TOPIC.row("the handler's own work")
def own_work(setting: Setting) -> Sides:
    """The same call on all sides; the delivery to a C function that does nothing is taken off."""
    setting.enter_context(SignalCounter(SIGUSR1))
    _python_handler(setting, SIGUSR2)
    nothing = ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p).value or 0
    setting.callback(raw_sigaction, SIGHUP, raw_sigaction(SIGHUP, nothing))
    pid = os.getpid()
    ours, theirs, empty = (loop("f(pid, n)", f=rawsys.raw_kill, pid=pid, n=int(n)) for n in (SIGUSR1, SIGUSR2, SIGHUP))
    return Sides(ours, [peer("Python handler", theirs, "<= 0.10")], baseline=empty)


def _taken(number: int, take: Callable[[], Side], with_sending: bool) -> Side:
    """A side that sends chunks of signals to itself and takes them; the sending counts or not."""
    takes = take()

    def side(count: int) -> int:
        total, pid, kill = 0, os.getpid(), rawsys.raw_kill
        while count > 0:
            chunk = min(count, _CHUNK)
            begin = perf_counter_ns()
            for _ in range(chunk):
                kill(pid, number)
            sent = perf_counter_ns() - begin
            total += takes(chunk) + (sent if with_sending else 0)
            count -= chunk
        return total

    return side


def _queue_row(setting: Setting, with_sending: bool, reach: str) -> Sides:
    queue = setting.enter_context(SignalQueue(_OURS, capacity=_CHUNK))
    setting.enter_context(blocked(_THEIRS))
    ours = _taken(_OURS, lambda: loop("f(0)", f=queue.get), with_sending)
    wanted = {_THEIRS}
    theirs = _taken(_THEIRS, lambda: loop("f(wanted, 0)", f=signal.sigtimedwait, wanted=wanted), with_sending)
    return Sides(ours, [peer("signal.sigtimedwait", theirs, reach)])


@TOPIC.row("SignalQueue.get from a filled ring")
def queue_get(setting: Setting) -> Sides:
    """Taking what has come; the kernel's side has it pending."""
    return _queue_row(setting, False, "<= 1.0")


@TOPIC.row("SignalQueue, sent to taken")
def queue_end_to_end(setting: Setting) -> Sides:
    """The same with the sending, and so the handler, in the time."""
    return _queue_row(setting, True, "reported")


def _in_flag_wait(call: list[bytes]) -> bool:
    """A futex without a time limit: waiting for the GIL is a futex call as well, but one with a limit."""
    return call[0] == b"202" and call[2] == b"0x89" and call[4] == b"0x0"


def _in_select(call: list[bytes]) -> bool:
    return call[0] in (b"23", b"270")  # select, pselect6


def _latency(
    setting: Setting,
    number: int,
    wait: Callable[[], object],
    clear: Callable[[], object],
    waits: Callable[[list[bytes]], bool],
    processor: int,
) -> Side:
    """A side: from the call that sends a signal to the return of `wait` in another thread, which then answers by a pipe.

    The next signal is sent when `waits` finds the thread in its wait again (that is not in the time); otherwise what is
    measured is how it comes back there.
    """
    woke = tid = 0
    reading, writing = os.pipe2(os.O_CLOEXEC)
    stop = threading.Event()
    started = threading.Event()

    def answer() -> None:
        nonlocal woke, tid
        tid = rawsys.raw_gettid()
        os.sched_setaffinity(0, {processor})
        with blocked():
            started.set()
            while True:
                wait()
                woke = perf_counter_ns()
                clear()
                if stop.is_set():
                    return
                os.write(writing, b"x")

    thread = threading.Thread(target=answer)
    thread.start()
    started.wait()

    def end() -> None:
        stop.set()
        rawsys.raw_kill(os.getpid(), number)
        thread.join()
        os.close(reading)
        os.close(writing)

    setting.callback(end)
    kill, read, pid = rawsys.raw_kill, os.read, os.getpid()
    state = os.open(f"/proc/self/task/{tid}/syscall", os.O_RDONLY | os.O_CLOEXEC)
    setting.callback(os.close, state)

    def side(count: int) -> int:
        total = 0
        for _ in range(count):
            while not waits(os.pread(state, 200, 0).split()):
                rawsys.raw.sched_yield()
            begin = perf_counter_ns()
            kill(pid, number)
            read(reading, 1)
            total += woke - begin
        return total

    return side


def _waking(setting: Setting, here: int, there: int) -> Sides:
    """A signal wakes another thread: SignalFlag.wait against the wake-up descriptor.

    Both threads that wait are held on one processor.  Left alone, the scheduler keeps one of the two beside the sender
    and the other one elsewhere, which costs twice as much (a processor is woken up), and the ratio is 0.5 or 2 by chance.
    """
    setting.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
    os.sched_setaffinity(0, {here})
    flag = setting.enter_context(SignalFlag(SIGUSR1))

    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    setting.callback(os.close, reading)
    setting.callback(os.close, writing)
    _python_handler(setting, SIGUSR2)
    setting.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writing, warn_on_full_buffer=False))

    def theirs() -> None:
        select.select([reading], [], [])

    ours = _latency(setting, int(SIGUSR1), flag.wait, flag.clear, _in_flag_wait, there)
    side = _latency(setting, int(SIGUSR2), theirs, lambda: os.read(reading, 64), _in_select, there)
    return Sides(ours, [peer("set_wakeup_fd and select", side, "<= 1.0")])


@TOPIC.row("handler to a wait returning in another thread")
def waking(setting: Setting) -> Sides:
    """The thread that waits is on the sender's processor."""
    here = min(os.sched_getaffinity(0))
    return _waking(setting, here, here)


@TOPIC.row("handler to a wait returning on another processor")
def waking_elsewhere(setting: Setting) -> Sides:
    """The thread that waits is on another processor, which sleeps until then."""
    here, *others = sorted(os.sched_getaffinity(0))
    if not others:
        raise Missing("needs two processors")
    return _waking(setting, here, others[0])


def _stream(number: int, count: int, take: Callable[[], object]) -> int:
    """Nanoseconds until `count` queued signals of another process have been taken, the sender included."""
    parent = os.getpid()
    begin = perf_counter_ns()
    pid = os.fork()
    if pid == 0:
        from rawsys.signals import sigqueue

        value = 0
        while value < count:
            try:
                sigqueue(parent, number, value)
                value += 1
            except BlockingIOError:  # RLIMIT_SIGPENDING
                rawsys.raw.sched_yield()
        os._exit(0)
    for _ in range(count):
        take()
    took = perf_counter_ns() - begin
    os.waitpid(pid, 0)
    return took


@TOPIC.row("queued signals of another process, per signal", patience=0.02)
def stream(setting: Setting) -> Sides:
    """A sender in a loop that retries EAGAIN; each value is taken.  None may be lost: tests/long_signals.py counts."""
    amount = setting.size(5_000, 200)
    queue = setting.enter_context(SignalQueue(_OURS, capacity=1 << 17))
    setting.enter_context(blocked(_THEIRS))
    wanted = {_THEIRS}

    def ours(count: int) -> int:
        return sum(_stream(_OURS, amount, queue.get) for _ in range(count))

    def theirs(count: int) -> int:
        return sum(_stream(_THEIRS, amount, lambda: signal.sigwaitinfo(wanted)) for _ in range(count))

    return Sides(ours, [peer("signal.sigwaitinfo", theirs, "reported")], operations=amount)
