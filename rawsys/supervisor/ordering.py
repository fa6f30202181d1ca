"""Ordering: who waits for whom while services come and go."""

from __future__ import annotations

from rawsys.supervisor.table import ACTIVE, Event, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rawsys.supervisor.change import Change
    from rawsys.supervisor.instance import Instance
    from rawsys.supervisor.service import Service


class Ordering:
    """Starts what has become ready to start, and holds back what is to stop until what depends on it has stopped."""

    __slots__ = ("_dependents", "_held", "_instances", "_services", "stopping")

    def __init__(self, services: Mapping[str, Service], instances: Mapping[str, Sequence[Instance]]) -> None:
        self._services, self._instances = services, instances
        self._dependents: dict[str, list[str]] | None = None
        self._held: dict[Instance, tuple[Event, str]] = {}
        """Those that are to stop as soon as what depends on them has."""
        self.stopping = False
        """All is to stop: nothing starts, and what merely comes after a service stops before it, too."""

    def services_changed(self) -> None:
        """There are other services now, or other rules."""
        self._dependents = None

    def dependents(self, name: str) -> list[str]:
        """The services that come after one."""
        if self._dependents is None:
            found: dict[str, list[str]] = {}
            for service in self._services.values():
                for need in service.needs:
                    found.setdefault(need, []).append(service.name)
            self._dependents = found
        return self._dependents.get(name, [])

    # ---- up ----

    def may_start(self, instance: Instance) -> bool:
        """Whether all that an instance comes after is ready."""
        return not self.stopping and all(map(self._is_ready, instance.service.needs))

    def not_ready(self, instance: Instance) -> list[str]:
        """The services that it waits for."""
        return [name for name in instance.service.needs if not self._is_ready(name)]

    def _is_ready(self, name: str) -> bool:
        return all(
            instance.state is State.DONE
            or (instance.state is State.RUNNING and not instance.service.oneshot and instance not in self._held)
            for instance in self._instances[name]
        )

    def consider(self, instance: Instance, change: Change) -> None:
        """What a change means for those that come after it."""
        name = instance.service.name
        if change.to in (State.RUNNING, State.DONE):
            for dependent in self.dependents(name):
                for waiting in self._instances[dependent]:
                    if waiting.state is State.WAITING and self.may_start(waiting):
                        waiting.feed(Event.CLEAR, f"{name} is ready")
        elif change.from_ is State.RUNNING:
            self._lose(name, f"{name} is {change.to}")

    def _lose(self, name: str, reason: str) -> None:
        """What requires a service stops with it."""
        for dependent in self.dependents(name):
            if name in self._services[dependent].requires:
                for losing in self._instances[dependent]:
                    losing.feed(Event.LOST, reason)

    # ---- down ----

    def down(self, instance: Instance, event: Event, reason: str) -> None:
        """Stop or restart it after what depends on it has stopped."""
        if event is Event.STOP:
            instance.goal_up = False
        if instance.state not in ACTIVE or not self._blocked(instance):
            instance.feed(event, reason)
            return
        self._held[instance] = event, reason
        if not self.stopping:
            self._lose(instance.service.name, f"{instance.service.name} is to stop")

    def _blocked(self, instance: Instance) -> bool:
        name = instance.service.name
        return any(
            other.state in ACTIVE
            for dependent in self.dependents(name)
            if self.stopping or name in self._services[dependent].requires
            for other in self._instances[dependent]
        )

    def holds(self, instance: Instance) -> bool:
        """It is to stop, and does not yet."""
        return instance in self._held

    def let_go(self, instance: Instance) -> None:
        """It is not to wait any longer for others to stop: somebody wants something else of it."""
        self._held.pop(instance, None)

    def release(self) -> None:
        """Stop those that nothing is in the way of any more."""
        for instance, (event, reason) in list(self._held.items()):
            if not self._blocked(instance):
                del self._held[instance]
                if instance.state in ACTIVE:
                    instance.feed(event, reason)

    def stop_all(self, instances: Sequence[Instance], reason: str) -> None:
        """Stop everything, in reverse order."""
        self.stopping = True
        self._held.clear()
        for instance in instances:
            instance.goal_up = False
        for instance in instances:
            self.down(instance, Event.STOP, reason)
