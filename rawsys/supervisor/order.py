"""The order of services: who waits for whom, and that nobody waits in a circle."""

from __future__ import annotations

from rawsys.supervisor.words import near

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rawsys.supervisor.service import Service


def check_order(services: Mapping[str, Service]) -> None:
    """Raise ValueError for a name that no service has, and for a circle, which is printed."""
    for service in services.values():
        for name in service.needs:
            if name not in services:
                raise ValueError(
                    f"service {service.name} comes after {name}, which does not exist{near(name, services)}"
                )
    levels(needs_of(services))


def needs_of(services: Mapping[str, Service]) -> dict[str, tuple[str, ...]]:
    """What each service comes after."""
    return {name: service.needs for name, service in services.items()}


def levels(needs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The services in the order of their start: each level starts when the one before is ready; they stop in reverse.

    Raises ValueError with the circle, where there is one.
    """
    left = {name: {one for one in its if one in needs} for name, its in needs.items()}
    found: list[list[str]] = []
    while left:
        free = [name for name, others in left.items() if not others]
        if not free:
            raise ValueError(f"services wait for each other in a circle: {' -> '.join(_circle(left))}")
        found.append(free)
        for name in free:
            del left[name]
        for others in left.values():
            others.difference_update(free)
    return found


def _circle(left: Mapping[str, Iterable[str]]) -> list[str]:
    """Each of those left waits for another one of them, so that following any of them comes back."""
    path: list[str] = []
    name = next(iter(left))
    while name not in path:
        path.append(name)
        name = min(left[name])
    return [*path[path.index(name) :], name]
