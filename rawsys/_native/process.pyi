from typing import TypeVar

from rawsys._native.handle import Handle
from rawsys._native.program import Core

H = TypeVar("H", bound=Handle)

def spawn(
    owner: type[H], parts: tuple[Core, ...], flags: int, cgroup: int, /, *values: object
) -> tuple[int, H | None, int, int, int]: ...
def become(parts: tuple[Core, ...], /, *values: object) -> tuple[int, int, int]: ...
