"""Roster: which services and instances there are, while some come and others go."""

from __future__ import annotations

from rawsys.supervisor.instance import Instance
from rawsys.supervisor.table import ACTIVE, Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rawsys.supervisor.ordering import Ordering
    from rawsys.supervisor.service import Service
    from rawsys.supervisor.supervisor import Supervisor


class Roster:
    """The services of a supervisor by name, and the instances of each."""

    __slots__ = ("_leaving", "_removed", "_supervisor", "instances", "services")

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.services: dict[str, Service] = {}
        self.instances: dict[str, list[Instance]] = {}
        self._removed: set[str] = set()
        self._leaving: dict[Instance, None] = {}
        """Those that are forgotten when nothing of them is left."""

    @property
    def _order(self) -> Ordering:
        return self._supervisor.order

    def is_leaving(self, instance: Instance) -> bool:
        """It was removed or scaled away: nobody can want it up again."""
        return instance in self._leaving

    def put(self, service: Service, running: bool) -> None:
        """Add a service, or give one that is there other rules; its order was checked."""
        known, leaving = service.name in self.services, service.name in self._removed
        here = self.instances.setdefault(service.name, [])
        wanted = running and (any(one.goal_up for one in here) or leaving or (known and not here))
        self.services[service.name] = service
        self._removed.discard(service.name)
        self._order.services_changed()
        for instance in here:
            instance.become(service)
        self._have(service, here, wanted)

    def _have(self, service: Service, here: list[Instance], wanted: bool) -> None:
        """Have as many instances as the service says: the last ones leave, new ones start if the service is wanted up."""
        self._leave([instance for instance in here if instance.number >= service.instances])
        numbered = {instance.number: instance for instance in here}
        for number in range(service.instances):
            known = numbered.get(number)
            if known is None:
                here.append(known := Instance(service, number, self._supervisor))
            self._leaving.pop(known, None)
            if wanted and not known.goal_up:
                self._supervisor.want_up(known)

    def remove(self, name: str) -> None:
        """Stop a service and forget it, when nothing of it is left.  ValueError when another one comes after it."""
        needing = [
            other
            for other in self._order.dependents(name)
            if any(instance not in self._leaving for instance in self.instances[other])
        ]
        if needing:
            raise ValueError(f"{name} cannot be removed: {', '.join(needing)} needs it")
        self._removed.add(name)
        self._leave(list(self.instances[name]))

    def _leave(self, instances: list[Instance]) -> None:
        for instance in instances:
            self._leaving[instance] = None
            self._order.down(instance, Event.STOP, "removed")
        self.forget_left()

    def forget_left(self) -> None:
        """Forget those that left, of which nothing is left."""
        for instance in [one for one in self._leaving if one.state not in ACTIVE and not self._order.holds(one)]:
            del self._leaving[instance]
            instance.close()
            self.instances[instance.service.name].remove(instance)
        for name in [name for name in self._removed if not self.instances[name]]:
            self._removed.discard(name)
            del self.instances[name], self.services[name]
            self._order.services_changed()
