"""Living with CPython: its handlers, wake-up descriptor, faulthandler and asyncio before, between and after ours."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import tempfile
import threading

import pytest
from signal_places import bare, beside_signal_signal, everywhere, everywhere_fresh, places, put_back
from support import in_child, run_python, until_blocked

import rawsys
from rawsys import raw
from rawsys.constants import SIGINT, SIGSEGV, SIGTERM, SIGUSR1, SIGUSR2
from rawsys.signals import SignalAction, SignalCounter, SignalFlag, SignalQueue, blocked, raise_signal, tgkill


@places(bare, beside_signal_signal)
def test_ctrl_c_when_nobody_took_it() -> None:
    """SIGINT raises KeyboardInterrupt, unless somebody here took it, and does again afterwards."""
    before = SignalAction.current(SIGINT)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            raise_signal(SIGINT)
        with SignalFlag(SIGINT, SIGTERM) as stop:
            raise_signal(SIGINT)
            assert stop
        assert SignalAction.current(SIGINT) == before


@places(bare, beside_signal_signal)
def test_ctrl_c_ends_a_wait() -> None:
    """KeyboardInterrupt comes out of every wait of an owner of other signals."""
    tid = raw.gettid()
    for make, wait in ((SignalFlag, "wait"), (SignalQueue, "get")):
        with make(SIGUSR1) as owner:

            def send(begun: threading.Event) -> None:
                begun.wait()  # starting a thread and taking the GIL are waits on a futex as well
                until_blocked(tid, 202)
                tgkill(os.getpid(), tid, SIGINT)

            begun = threading.Event()
            with blocked(SIGINT):
                thread = threading.Thread(target=send, args=(begun,))
                thread.start()
            with pytest.raises(KeyboardInterrupt):
                begun.set()
                getattr(owner, wait)()
            thread.join()


@everywhere
@put_back()
def test_signal_signal_before_between_and_after() -> None:
    """Python's handler runs before ours is there, not while it is, again after it; one that comes between stays."""
    ran: list[str] = []
    signal.signal(SIGUSR1, lambda *_: ran.append("before"))
    raise_signal(SIGUSR1)
    with SignalCounter(SIGUSR1) as counter:
        raise_signal(SIGUSR1)
    raise_signal(SIGUSR1)
    assert (ran, counter.count) == (["before", "before"], 1)
    with SignalCounter(SIGUSR1) as counter:
        raise_signal(SIGUSR1)
        signal.signal(SIGUSR1, lambda *_: ran.append("between"))
        raise_signal(SIGUSR1)
        assert counter.count == 1
    raise_signal(SIGUSR1)
    assert ran[2:] == ["between", "between"]
    signal.signal(SIGUSR1, lambda *_: ran.append("after"))
    raise_signal(SIGUSR1)
    assert ran[4:] == ["after"]


@everywhere
@put_back()
def test_wakeup_descriptor() -> None:
    """Case 91: the wake-up descriptor hears of Python's signals, not of ours; on one signal, of who has it."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old = signal.set_wakeup_fd(writing)
    try:
        signal.signal(SIGUSR2, lambda *_: None)
        signal.signal(SIGUSR1, lambda *_: None)
        with SignalCounter(SIGUSR1) as counter:
            raise_signal(SIGUSR1)
            raise_signal(SIGUSR2)
            assert os.read(reading, 10) == bytes([SIGUSR2])
            assert counter.count == 1
        raise_signal(SIGUSR1)
        assert os.read(reading, 10) == bytes([SIGUSR1])
    finally:
        assert signal.set_wakeup_fd(old) == writing
        os.close(reading)
        os.close(writing)


@everywhere
@put_back()
def test_faulthandler_register_before_between_and_after() -> None:
    """Case 91: faulthandler.register prints before, not while ours is there, and after it; between, it has the signal."""
    with tempfile.TemporaryFile() as file:

        def prints(number: int) -> bool:
            file.truncate(0)
            file.seek(0)
            raise_signal(number)
            file.seek(0)
            return b"most recent call first" in file.read()

        faulthandler.register(SIGUSR2, file)
        assert prints(SIGUSR2)
        with SignalCounter(SIGUSR2) as counter:
            assert not prints(SIGUSR2)
        assert prints(SIGUSR2)
        faulthandler.unregister(SIGUSR2)
        with SignalCounter(SIGUSR2) as counter:
            faulthandler.register(SIGUSR2, file, chain=True)  # installs last: it receives, and chains to ours
            assert prints(SIGUSR2)
            assert counter.count == 1
            faulthandler.unregister(SIGUSR2)
            raise_signal(SIGUSR2)
            assert counter.count == 2
        faulthandler.register(SIGUSR2, file)
        assert prints(SIGUSR2)
        faulthandler.unregister(SIGUSR2)


@everywhere
def test_faulthandler_put_back_after_we_left() -> None:
    """faulthandler that came between and gives up after we left puts our action back: the signal goes where it had gone."""

    def test() -> list[int]:
        ran: list[int] = []
        signal.signal(SIGUSR2, lambda *_: ran.append(1))
        with tempfile.TemporaryFile() as file:
            with SignalCounter(SIGUSR2):
                faulthandler.register(SIGUSR2, file)
            faulthandler.unregister(SIGUSR2)
            for _ in range(3):
                raise_signal(SIGUSR2)
        return ran

    assert in_child(test) == [1, 1, 1]


@everywhere
def test_faulthandler_enable_around_a_taken_fault() -> None:
    """faulthandler.enable before, disable while, and enable again leave SIGSEGV with who had it."""

    def test() -> bool:
        faulthandler.disable()
        before = SignalAction.current(SIGSEGV)
        faulthandler.enable()
        theirs = SignalAction.current(SIGSEGV)
        with SignalCounter(SIGSEGV) as counter:
            raise_signal(SIGSEGV)
            assert counter.count == 1
        assert SignalAction.current(SIGSEGV) == theirs
        faulthandler.disable()
        return SignalAction.current(SIGSEGV).handler == before.handler

    assert in_child(test)


@everywhere
async def test_asyncio_before_between_and_after() -> None:
    """loop.add_signal_handler's callback is called before ours, when it came after ours, and after ours left."""
    loop = asyncio.get_running_loop()
    calls: asyncio.Queue[str] = asyncio.Queue()

    async def called() -> str:
        return await asyncio.wait_for(calls.get(), 20)

    with put_back():
        loop.add_signal_handler(SIGUSR1, calls.put_nowait, "before")
        raise_signal(SIGUSR1)
        assert await called() == "before"
        with SignalCounter(SIGUSR1) as counter:
            raise_signal(SIGUSR1)
            await asyncio.sleep(0)
        raise_signal(SIGUSR1)
        assert await called() == "before"
        assert counter.count == 1
        with SignalCounter(SIGUSR1) as counter:
            loop.add_signal_handler(SIGUSR1, calls.put_nowait, "between")
            raise_signal(SIGUSR1)
            assert await called() == "between"
            assert counter.count == 0
        raise_signal(SIGUSR1)
        assert await called() == "between"
        assert calls.empty()
        loop.remove_signal_handler(SIGUSR1)


@everywhere
async def test_descriptor_in_an_asyncio_loop() -> None:
    """A SignalFlag's descriptor works with add_reader, beside the loop's own handlers."""
    loop = asyncio.get_running_loop()
    with SignalFlag(SIGUSR1) as flag:
        came: asyncio.Future[None] = loop.create_future()
        loop.add_reader(flag, came.set_result, None)
        rawsys.raw_kill(os.getpid(), SIGUSR1)
        await asyncio.wait_for(came, 20)
        loop.remove_reader(flag)
        assert flag.is_set()


@everywhere_fresh
def test_handler_stays_until_the_very_end(setting: str) -> None:
    """Cases 92 and 94: signals that come while and after the interpreter takes itself down are served as before."""
    for _ in range(5):
        done = run_python(
            setting
            + """
import atexit, os, sys, rawsys
from rawsys.signals import *
program = rawsys.Program()
program.write(2, b"", 0)
keep = [SignalCounter(10, 2), SignalQueue(10, capacity=8), SignalFlag(10, 2), on_signal(10, program)]
sys.modules["kept"] = keep          # alive until the modules are torn down
class Late:
    def __del__(self, kill=rawsys.raw_kill, pid=os.getpid()):
        for _ in range(100): kill(pid, 10), kill(pid, 2)
late = Late()
keep.append(late)
atexit.register(rawsys.raw_kill, os.getpid(), 10)
""",
            flags=("-X", "faulthandler", "-W", "ignore::ResourceWarning"),
        )
        assert (done.returncode, done.stderr) == (0, "")
