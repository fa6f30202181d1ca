"""Reload: from the services that there are to those that a file describes."""

from __future__ import annotations

from typing import NamedTuple

from rawsys.supervisor.listening import ListenSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from rawsys.supervisor.config import Config
    from rawsys.supervisor.supervisor import Supervisor


class Plan(NamedTuple):
    """What a reload does, by the names of services, each in one of the lists."""

    added: list[str]
    """They are new, and started."""
    removed: list[str]
    """They are stopped and forgotten."""
    restarted: list[str]
    """Their process is another one."""
    changed: list[str]
    """Only rules of theirs differ: they hold at once, and the process goes on."""
    unchanged: list[str]
    """Nothing is done to them."""
    sockets: list[str]
    """Listening sockets that are opened, closed, or opened anew."""

    @property
    def empty(self) -> bool:
        """Nothing is to be done."""
        return not (self.added or self.removed or self.restarted or self.changed or self.sockets)

    def as_dict(self) -> dict[str, list[str]]:
        """As it goes into JSON."""
        return self._asdict()


def plan(supervisor: Supervisor, config: Config) -> Plan:
    """What would be done."""
    now, then = supervisor.services, config.services
    sockets = {name: socket.listen for name, socket in supervisor.sockets.items()}
    moved = {name for name in {*sockets, *config.sockets} if sockets.get(name) != config.sockets.get(name)}
    found = Plan(
        [name for name in then if name not in now],
        [name for name in now if name not in then],
        [],
        [],
        [],
        sorted(moved),
    )
    for name, service in then.items():
        if name not in now:
            continue
        if now[name].process_differs(service) or moved.intersection(service.sockets):
            found.restarted.append(name)
        elif now[name] != service:
            found.changed.append(name)
        else:
            found.unchanged.append(name)
    return found


def apply(supervisor: Supervisor, config: Config, only: Collection[str] | None = None) -> Plan:
    """Do it, for all services or `only` for some.  OSError when a socket cannot be opened: then nothing has changed."""
    found = plan(supervisor, config)
    if only is not None:
        added, removed, restarted, changed, unchanged = (
            [name for name in names if name in only] for names in found[:-1]
        )
        found = Plan(added, removed, restarted, changed, unchanged, [])
    _move_sockets(supervisor, config, found.sockets)
    # The file's order was checked whole; on the way from one order to the other there may be a circle.
    for name in (*found.added, *found.changed, *found.restarted):
        supervisor.put(config.services[name])
    for name in _last_first(supervisor, found.removed):
        supervisor.remove(name)
    for name in found.added:
        supervisor.start(name)
    for name in found.restarted:
        if any(instance.goal_up for instance in supervisor.instances[name]):
            supervisor.restart(name)
    return found


def _move_sockets(supervisor: Supervisor, config: Config, names: list[str]) -> None:
    """Open what is new before anything is closed, so that a failure changes nothing."""
    opened: list[ListenSocket] = []
    try:
        for name in names:
            if name in config.sockets:
                opened.append(ListenSocket(name, config.sockets[name]))
    except BaseException:
        for socket in opened:
            socket.close()
        raise
    for name in names:
        if name in supervisor.sockets:
            supervisor.sockets.pop(name).close()
    for socket in opened:
        supervisor.add_socket(socket)


def _last_first(supervisor: Supervisor, names: list[str]) -> list[str]:
    """Those that others of them need come after these."""
    from rawsys.supervisor.order import levels, needs_of

    order = [name for level in levels(needs_of(supervisor.services)) for name in level]
    return sorted(names, key=order.index, reverse=True)
