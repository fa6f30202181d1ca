"""What a thread of ours has to do so that `threading` knows it: the private parts of threading in 3.11, 3.12 and 3.13.

`threading` keeps its threads in `_active` by their ident; whoever asks `current_thread()` from a thread that is not there
leaves a `_DummyThread` behind.  So each Python body gets a `Thread` object of its own, which the creator puts there (in
C, with the GIL held since before the thread exists) and the body takes out.  It is made by hand: `Thread.__init__` makes
an Event of four objects that nobody needs here.

What differs:
  3.11, 3.12  `_tstate_lock` and `_is_stopped`; after a fork `_reset_internal_locks(alive)` and `_stop()`.  A thread that
              forked is the child's main thread, and `_shutdown` there wants its `_tstate_lock` held
  3.13        `_handle` (join, is_done, _set_done) in their place; after a fork `_after_fork(new_ident)`
Exit: `_shutdown` joins the threads that `threading` started itself; ours are joined by a function given to
`_register_atexit`, which runs before.
"""

from __future__ import annotations

import _thread
import sys
import threading

from rawsys._native.threads import is_detached, join_all, set_hooks

_active = threading._active
_get_native_id = threading.get_native_id
_make = object.__new__
_set = threading.Event()
_set.set()
_HANDLES = hasattr(_thread, "_make_thread_handle")


class SpawnedThread(threading.Thread):
    """How `threading` shows a thread that rawsys spawned: `current_thread()` in its body, and in `enumerate()`.

    It may be waited for with `join()` any number of times, as any Thread; the result is with the ThreadHandle.
    """

    # Shared by all: threading only asks whether it is set, and resets its lock (which nobody holds) after a fork.
    _started = _set
    _initialized = True
    _target = None
    _args = ()
    _kwargs: dict[str, object] = {}  # threading's own attribute, never written to
    _tstate_lock = None
    _is_stopped = False
    _ended = None

    _ident = _native_id = None
    _title: str | None = None
    _title_of = ""

    @property
    def _stderr(self):
        return sys.stderr

    @property
    def _name(self):
        if self._title is None:
            self._title = f"{threading._newname('Thread-%d')} ({self._title_of})"
        return self._title

    @_name.setter
    def _name(self, name):
        self._title = name

    @property
    def _handle(self):
        return _Handle(self)

    def is_alive(self):
        return not self._is_stopped

    def join(self, timeout=None):
        """Wait until the body is over, as for a Thread of `threading`; the result is with the ThreadHandle."""
        if self is threading.current_thread():
            raise RuntimeError("cannot join current thread")
        self._wait(timeout)

    def _wait(self, timeout):
        # Few wait here, so the lock to wait on is made by the first who does, and let go by the thread at its end.
        if self._is_stopped:
            return
        event = self.__dict__.setdefault("_ended", threading.Event())
        if not self._is_stopped:
            event.wait(None if timeout is None else max(timeout, 0))

    def _over(self):
        self._is_stopped = True
        if self._ended is not None:
            self._ended.set()

    def _invoke_excepthook(self, thread):
        threading.excepthook(threading.ExceptHookArgs([*sys.exc_info(), thread]))

    # 3.11 and 3.12
    def _reset_internal_locks(self, is_alive):
        self.__dict__.pop("_ended", None)
        if is_alive:
            self._tstate_lock = _thread.allocate_lock()
            self._tstate_lock.acquire()
        else:
            self._is_stopped = True

    def _stop(self):
        self._is_stopped = True
        self._tstate_lock = None

    # 3.13
    def _after_fork(self, new_ident=None):
        self.__dict__.pop("_ended", None)
        if new_ident is None:
            self._is_stopped = True
        else:
            self._ident = new_ident


class _Handle:
    """What 3.13 asks of a Thread's `_handle`."""

    __slots__ = ("_thread",)

    def __init__(self, thread):
        self._thread = thread

    @property
    def ident(self):
        return self._thread._ident

    def is_done(self):
        return self._thread._is_stopped

    def join(self, timeout=None):
        self._thread._wait(timeout)

    def _set_done(self):
        self._thread._over()


# ---- the life of a body ----


def prepare(function, name, daemon):
    """The Thread object of a body that is about to be spawned; without a name it is numbered when somebody asks."""
    thread = _make(SpawnedThread)
    thread._title = name
    thread._title_of = getattr(function, "__name__", "object")
    thread._daemonic = daemon
    return thread


def bootstrap(thread, function, args):
    """The first and last Python of a thread: (thread, result, exception or None)."""
    thread._native_id = _get_native_id()
    try:
        if threading._trace_hook:
            sys.settrace(threading._trace_hook)
        if threading._profile_hook:
            sys.setprofile(threading._profile_hook)
        try:
            return thread, function(*args), None
        except SystemExit:
            return thread, None, None
        except BaseException as error:  # noqa: BLE001  # whatever it is, join() raises it
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # this frame is none of theirs
            if not is_detached():
                return thread, None, error
            report((thread, None, error))
            return thread, None, None
    finally:
        function = args = None
        _active.pop(thread._ident, None)  # no lock: in one step, and those who list it copy it in one step
        thread._is_stopped = True
        if thread._ended is not None:
            thread._ended.set()


def report(outcome):
    """threading.excepthook for an exception that nobody can join for."""
    thread, _, error = outcome
    threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))


set_hooks(report, threading._active)


# ---- exit ----

exiting = False


def _join_at_exit():
    join_all()


def _last():
    global exiting
    exiting = True
    join_all()


def register_exit():
    """Wait for the threads that are not detached, twice: before threading waits for its own, and after those.

    They may have spawned more; from then on nothing is spawned any more.
    """
    import atexit
    from contextlib import suppress

    with suppress(RuntimeError):  # imported while the interpreter exits: only the second time is left
        threading._register_atexit(_join_at_exit)
    atexit.register(_last)


register_exit()
