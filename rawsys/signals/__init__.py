"""Signals: received in C, without Python in signal context, and sent.

With a handler, all of them served by one in C (`rawsys.signals.owners` says how they share a signal)::

    with SignalFlag(SIGINT, SIGTERM) as stop:           # a flag
        while not stop.wait(timeout=0.1): work()
    with SignalCounter(SIGUSR1) as c: ...               # a count
    with SignalQueue(SIGUSR1, SIGRTMIN + 1) as q:       # every delivery, with what came with it
        info = q.get(timeout=1)
    with on_signal(SIGUSR1, program): ...               # the steps of a Program, inside the handler

Without one: `blocked`, `unblocked`, `pending`, `sigwait`, `sigsuspend`, `SignalFd`; besides `alternate_stack`,
`TimerSignal`, and for sending `sigqueue`, `tgkill`, `raise_signal`.  `raw_sigaction` is the naked call.

Real-time signals are named by their distance from `SIGRTMIN`, which is 34 as in libc and Python's `signal`. The kernel
counts 32 and 33 among them, but libc uses these two between its threads: they are no `Signal`, in no `SignalSet`, and
never in a mask that is set here.
"""

from __future__ import annotations

from rawsys.signals.sets import Signal, SignalSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.signals.actions import SignalAction, raw_sigaction
    from rawsys.signals.descriptor import SignalFd
    from rawsys.signals.masks import blocked, pending, sigsuspend, sigwait, unblocked
    from rawsys.signals.owners import (
        SignalCounter,
        SignalFlag,
        SignalInfo,
        SignalOwner,
        SignalProgram,
        SignalQueue,
        on_signal,
    )
    from rawsys.signals.sending import raise_signal, sigqueue, tgkill
    from rawsys.signals.stacks import alternate_stack
    from rawsys.signals.timers import TimerSignal

_HOME = {
    "SignalAction": "actions", "raw_sigaction": "actions", "SignalFd": "descriptor", "blocked": "masks", "pending": "masks",
    "sigsuspend": "masks", "sigwait": "masks", "unblocked": "masks", "SignalCounter": "owners", "SignalFlag": "owners",
    "SignalInfo": "owners", "SignalOwner": "owners", "SignalProgram": "owners", "SignalQueue": "owners", "on_signal": "owners",
    "raise_signal": "sending", "sigqueue": "sending", "tgkill": "sending", "alternate_stack": "stacks", "TimerSignal": "timers",
}  # fmt: skip

__all__ = [
    "Signal",
    "SignalAction",
    "SignalCounter",
    "SignalFd",
    "SignalFlag",
    "SignalInfo",
    "SignalOwner",
    "SignalProgram",
    "SignalQueue",
    "SignalSet",
    "TimerSignal",
    "alternate_stack",
    "blocked",
    "on_signal",
    "pending",
    "raise_signal",
    "raw_sigaction",
    "sigqueue",
    "sigsuspend",
    "sigwait",
    "tgkill",
    "unblocked",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOME:
        value = globals()[name] = getattr(import_module(f"rawsys.signals.{_HOME[name]}"), name)
        return value
    raise AttributeError(f"module 'rawsys.signals' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
