"""Types of the hooks into threading's internals; the module itself works with what typeshed does not know."""

import threading
from collections.abc import Callable

exiting: bool

class SpawnedThread(threading.Thread): ...

def prepare(function: Callable[..., object], name: str | None, daemon: bool) -> SpawnedThread: ...
def bootstrap(
    thread: SpawnedThread, function: Callable[..., object], args: tuple[object, ...]
) -> tuple[SpawnedThread, object, BaseException | None]: ...
def report(outcome: tuple[threading.Thread | None, object, BaseException]) -> None: ...
