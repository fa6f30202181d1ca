"""What services are given: Restart and its history, Service, Ready, Log, the order, and the words for signals and stops."""

from __future__ import annotations

import pickle
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawsys.process import ExitStatus
from rawsys.supervisor import Change, ListenSocket, Log, Notice, Ready, Restart, Service, Supervisor
from rawsys.supervisor.change import ending
from rawsys.supervisor.order import check_order, levels, needs_of
from rawsys.supervisor.restart import History
from rawsys.supervisor.words import signal_name, signal_number, stop_steps

seconds = st.floats(0, 1e6)

# ---- Restart and History ----


@given(base=seconds, factor=st.floats(1, 10), most=seconds, jitter=st.floats(0, 1), n=st.integers(0, 40))
def test_a_delay_is_bounded_and_jitters_by_its_part(
    base: float, factor: float, most: float, jitter: float, n: int
) -> None:
    """min(max, base * factor^n), moved by at most `jitter` of itself."""
    history = History(Restart(base=base, factor=factor, max=most, jitter=jitter, limit=None))
    delay = 0.0
    for _ in range(n + 1):
        found = history.delay(0, 0)
        assert found is not None
        delay = found
    plain = min(most, base * factor**n)
    assert plain * (1 - jitter) * 0.999999 <= delay <= plain * (1 + jitter) * 1.000001


def test_the_delays_grow_to_the_longest_however_often() -> None:
    """Powers that no float has are the longest delay as well."""
    history = History(Restart(jitter=0, limit=None))
    assert [history.delay(0, 0) for _ in range(10)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30]
    assert {history.delay(0, 0) for _ in range(2000)} == {30}


def test_jitter_spreads_to_both_sides() -> None:
    delays = [History(Restart(base=1, jitter=0.1)).delay(0, 0) or 0 for _ in range(200)]
    assert min(delays) < 0.97 and max(delays) > 1.03
    assert len(set(delays)) > 190


def test_a_long_run_brings_the_first_delay_back() -> None:
    history = History(Restart(jitter=0, reset=30, limit=None))
    assert [history.delay(0, ran) for ran in (0, 29.9, 5, 30, 1)] == [0.1, 0.2, 0.4, 0.1, 0.2]


def test_a_list_of_delays_repeats_its_last() -> None:
    history = History(Restart(delays=[0, 1, 5], jitter=0, limit=None))
    assert [history.delay(0, 0) for _ in range(5)] == [0, 1, 5, 5, 5]
    assert history.delay(0, 31) == 0


def test_the_limit_is_of_a_window_that_slides() -> None:
    history = History(Restart(limit=2, window=10, jitter=0))
    assert [history.delay(t, 0) is None for t in (0, 5, 9.9)] == [False, False, True]
    assert history.delay(10, 0) is not None  # the one at 0 has left the window
    assert history.delay(14, 0) is None
    assert history.delay(15, 0) is not None


def test_a_window_of_none_is_for_ever() -> None:
    history = History(Restart("always", limit=3, window=None))
    assert [history.delay(1e6 * n, 1e6) is None for n in range(5)] == [False, False, False, True, True]
    history.forget()
    assert history.delay(0, 0) is not None


@given(times=st.lists(st.floats(0, 5), max_size=50), limit=st.integers(0, 5), window=st.floats(0.1, 10))
def test_never_more_than_the_limit_in_any_window(times: list[float], limit: int, window: float) -> None:
    history, now, made = History(Restart(limit=limit, window=window)), 0.0, []
    for step in times:
        now += step
        if history.delay(now, 0) is not None:
            made.append(now)
    for end in made:
        assert sum(end - window < t <= end for t in made) <= limit


def test_a_shortage_has_no_limit_and_uses_none_up() -> None:
    history = History(Restart(limit=1, window=None, jitter=0))
    assert [history.delay(0, 0, counted=False) for _ in range(3)] == [0.1, 0.2, 0.4]
    assert history.delay(0, 0) == 0.8
    assert history.delay(0, 0) is None
    assert history.delay(0, 0, counted=False) is not None


def test_what_counts_as_success() -> None:
    rule = Restart(success_codes=[0, 3, "TERM"])
    ends = {0: True, 3 << 8: True, 4 << 8: False, 15: True, 9: False}
    assert {raw: rule.succeeded(ExitStatus(raw)) for raw in ends} == ends
    assert not rule.succeeded(None)


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ({"policy": "sometimes"}, ValueError, "one of always, on-failure, never, not 'sometimes'"),
        ({"base": -1}, ValueError, "restart base"),
        ({"base": float("nan")}, ValueError, "restart base"),
        ({"max": None}, TypeError, "restart max is a number of seconds, not None"),
        ({"reset": "30s"}, TypeError, "restart reset"),
        ({"window": -1}, ValueError, "restart window"),
        ({"retry_after": -1}, ValueError, "restart retry_after"),
        ({"delays": [1, -2]}, ValueError, "restart delays"),
        ({"factor": 0.5}, ValueError, "a number from 1 on, not 0.5"),
        ({"factor": True}, ValueError, "factor"),
        ({"factor": float("nan")}, ValueError, "factor"),
        ({"jitter": 1.5}, ValueError, "a part from 0 to 1, not 1.5"),
        ({"limit": -1}, ValueError, "restart limit"),
        ({"limit": 2.5}, ValueError, "restart limit"),
        ({"success_codes": [256]}, ValueError, "not 256"),
        ({"success_codes": [True]}, ValueError, "not True"),
        ({"success_codes": ["NOPE"]}, ValueError, "'NOPE' is no signal"),
    ],
)
def test_a_wrong_restart_says_what_is_wrong(given_: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Restart(**given_)


def test_restarts_are_values() -> None:
    assert Restart(limit=3) == Restart(limit=3) != Restart(limit=4)
    assert len({Restart(), Restart("on-failure"), Restart("always")}) == 2
    assert repr(Restart("always", limit=3, window=None)) == "Restart('always', limit=3, window=None)"
    assert eval(repr(Restart(delays=[1, 2]))) == Restart(delays=[1, 2])
    assert pickle.loads(pickle.dumps(Restart("always", limit=1))) == Restart("always", limit=1)


# ---- Service ----


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ({"command": "sleep 10"}, TypeError, r'for a shell \["sh", "-c", \'sleep 10\'\]'),
        ({"command": []}, (TypeError, ValueError), "service web"),
        ({"name": "a b"}, ValueError, "'a b' is no name"),
        ({"name": "a/b"}, ValueError, "'a/b' is no name"),
        ({"name": ""}, ValueError, "is no name"),
        ({"name": "-x"}, ValueError, "is no name"),
        ({"instances": -1}, ValueError, "instances is a number from 0 to 10000"),
        ({"instances": True}, ValueError, "instances"),
        ({"restart": "often"}, ValueError, "restart policy"),
        ({"ready": "soon"}, ValueError, "ready is one of none, alive, fd, notify"),
        ({"ready": -1}, ValueError, "service|negative|-1"),
        ({"start_timeout": -1}, ValueError, "service web"),
        ({"watchdog": 0}, ValueError, "watchdog"),
        ({"stop": []}, ValueError, "at least one signal"),
        ({"stop": [10, "KILL"]}, ValueError, "10 seconds after what"),
        ({"stop": ["TERM", 1, 2]}, ValueError, "2 seconds after what"),
        ({"stop": ["TERM", -1]}, ValueError, "-1|negative"),
        ({"stop": ["FOO"]}, ValueError, "'FOO' is no signal"),
        ({"stop": ["TERM", None]}, TypeError, "not None"),
        ({"stop_target": "all"}, ValueError, "one of group, main"),
        ({"after": "db"}, TypeError, r"after is a list of names, not one text: \['db'\]"),
        ({"requires": b"db"}, TypeError, "requires"),
        ({"log": "x", "stdout": 1}, ValueError, "log takes the output"),
        ({"log": ""}, TypeError, "path"),
        ({"umsk": 0o22}, TypeError, "did you mean umask"),
        ({"new_session": True}, TypeError, "new_session is what the supervisor decides"),
        ({"parent_death_signal": 9}, TypeError, "what the supervisor decides"),
        ({"umask": "x"}, TypeError, "service web"),
        ({"nice": 1.5}, TypeError, "service web"),
    ],
)
def test_a_wrong_service_says_what_is_wrong(given_: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Service(**({"name": "web", "command": ["true"]} | given_))


def test_a_service_cannot_be_changed_but_replaced() -> None:
    service = Service("web", ["true"], stop=["TERM", 5, "INT"], umask=0o27, after=["db"], requires=["net", "db"])
    with pytest.raises(AttributeError, match=r"replace\(name=...\)"):
        service.name = "x"
    assert service.replace() == service
    other = service.replace(umask=0o77, instances=2)
    assert (other.attributes, other.instances, other.stop) == ({"umask": 0o77}, 2, service.stop)
    assert other != service
    assert service.needs == ("db", "net")
    assert "web" in repr(service)


def test_the_number_of_an_instance_is_filled_in() -> None:
    service = Service("web", ["run", "{i}", "--port=80{i:02}", "{j}"], cwd="/srv/{i}", extra_env={"N": "n{i}"})
    command = service.command_for(7, {"MORE": "1"})
    assert list(command.argv) == ["run", "7", "--port=8007", "{j}"]
    assert command.cwd == "/srv/7"
    assert {**command.extra_env} == {"N": "n7", "RAWSYS_INSTANCE": "7", "MORE": "1"}


def test_ready_is_a_word_a_number_or_a_ready() -> None:
    assert Ready.of(None) == Ready() == Ready("none")
    assert Ready.of(2.5) == Ready("alive", seconds=2.5) != Ready("alive", seconds=3)
    assert Ready.of("fd") == Ready("fd", fd=3)
    assert repr(Ready("fd", fd=5)) == "Ready('fd', fd=5)"
    for wrong in ({"fd": 2}, {"fd": True}, {"seconds": -1}):
        with pytest.raises(ValueError):
            Ready("fd", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Ready("alive", seconds=None)  # type: ignore[arg-type]


# ---- Log ----


@pytest.mark.parametrize(
    ("given_", "error", "text"),
    [
        ({"file": 3}, TypeError, "a path, not 3"),
        ({"size": 0}, ValueError, "bytes from 1 on, or None, not 0"),
        ({"size": True}, ValueError, "size"),
        ({"keep": -1}, ValueError, "keep is a number of old files"),
        ({"stderr": "drop"}, ValueError, '"merge", "inherit" or another Log'),
        ({"prefix": "{nme} "}, ValueError, "has {time} and {name} only"),
        ({"prefix": "{} "}, ValueError, "{time} and {name} only"),
        ({"prefix": "{time"}, ValueError, "{time} and {name} only"),
        ({"prefix": "{name.x}"}, ValueError, "{time} and {name} only"),
    ],
)
def test_a_wrong_log_says_what_is_wrong(given_: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Log(**given_)


def test_logs_are_values() -> None:
    assert Log("a", keep=1) == Log("a", keep=1) != Log("a")
    assert len({Log("a"), Log("a"), Log("b")}) == 2
    assert repr(Log("a")) == "Log('a', size=10000000, keep=5, prefix='', stderr='merge')"


# ---- the order ----


def services(**needs: str) -> dict[str, Service]:
    return {name: Service(name, ["true"], after=words.split()) for name, words in needs.items()}


def test_levels_are_the_order_of_starts() -> None:
    assert levels({"web": ["db", "cache"], "db": ["disk"], "cache": [], "disk": []}) == [
        ["cache", "disk"],
        ["db"],
        ["web"],
    ]
    assert levels({}) == []


@given(edges=st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8))))
def test_every_service_is_in_a_level_after_what_it_needs_or_a_circle_is_printed(edges: set[tuple[int, int]]) -> None:
    made = services(**{f"s{n}": " ".join(f"s{b}" for a, b in sorted(edges) if a == n) for n in range(9)})
    try:
        order = levels(needs_of(made))
    except ValueError as error:
        circle = str(error).rpartition(": ")[2].split(" -> ")
        assert circle[0] == circle[-1] and len(circle) > 1
        for one, next_one in pairwise(circle):
            assert next_one in made[one].needs
        return
    place = {name: number for number, level in enumerate(order) for name in level}
    assert place.keys() == made.keys()
    for name, service in made.items():
        assert all(place[need] < place[name] for need in service.needs)


def test_a_circle_is_refused_and_printed() -> None:
    with pytest.raises(ValueError, match="in a circle: a -> b -> c -> a"):
        check_order(services(a="b", b="c", c="a", d="a"))
    with pytest.raises(ValueError, match="in a circle: a -> a"):
        check_order(services(a="a"))


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"web comes after databse, which does not exist; did you mean database\?"):
        check_order(services(web="databse", database=""))


def test_a_supervisor_refuses_before_anything_runs() -> None:
    for made in (services(a="b", b="a"), services(web="nothing")):
        with Supervisor(on_death="keep") as supervisor:
            for service in made.values():
                supervisor.add(service)
            with pytest.raises(ValueError, match=r"circle|does not exist"):
                supervisor.run()
    with Supervisor() as supervisor:
        supervisor.add(Service("web", ["true"], sockets=["http"]))
        with pytest.raises(ValueError, match="service web: there is no socket http"):
            supervisor.run()
        with pytest.raises(ValueError, match="there is a service web already"):
            supervisor.add(Service("web", ["true"]))
        with pytest.raises(KeyError, match="did you mean web"):
            supervisor.start("wbe")
        with pytest.raises(KeyError, match="no service web/7"):
            supervisor.start("web/7")
    for wrong in ({"exit_when": "soon"}, {"on_death": "die"}):
        with pytest.raises(ValueError, match=r"is one of .*, not '"):
            Supervisor(**wrong)  # type: ignore[arg-type]


# ---- words ----


@pytest.mark.parametrize(
    ("word", "number"), [("TERM", 15), ("SIGTERM", 15), ("sigkill", 9), (10, 10), ("RTMIN", 34), ("RTMIN+30", 64)]
)
def test_words_for_signals(word: int | str, number: int) -> None:
    assert signal_number(word) == number


@pytest.mark.parametrize("word", ["", "TREM", "RTMIN+31", "RTMIN-1", "RTMINX", 0, 65, -1])
def test_what_is_no_signal(word: int | str) -> None:
    with pytest.raises(ValueError, match="no signal"):
        signal_number(word)


@pytest.mark.parametrize("word", [True, None, 1.5])
def test_what_cannot_be_a_signal(word: Any) -> None:
    with pytest.raises(TypeError, match="a signal is a name or a number"):
        signal_number(word)


def test_every_signal_has_a_name_that_reads_back() -> None:
    import signal

    for number in [*range(1, 32), *range(34, 65)]:
        assert signal_number(signal_name(number)) == number
    assert all(signal_name(one.value) == one.name for one in signal.Signals if one.value < 32)


def test_steps_of_a_stop() -> None:
    assert stop_steps(["TERM", 10, "KILL"]) == ((15, 10), (9, None))
    assert stop_steps(["INT", "TERM", 0.5]) == ((2, 0), (15, 0.5))
    assert stop_steps("QUIT") == ((3, None),)
    with pytest.raises(TypeError):
        stop_steps(b"TERM")  # type: ignore[arg-type]


signals = st.sampled_from(["TERM", "INT", "KILL", "USR1", "RTMIN+3"])
steps = st.lists(st.tuples(signals, st.none() | st.floats(0, 100)), min_size=1, max_size=5)


@given(steps)
def test_a_service_gives_its_steps_back_as_words(steps: list[tuple[str, float | None]]) -> None:
    words = [word for step in steps for word in step if word is not None]
    service = Service("web", ["true"], stop=words)
    assert stop_steps(service.stop_words()) == service.stop


# ---- records ----


def test_a_change_prints_as_a_line_and_goes_into_json() -> None:
    change = Change(time.time(), "web", 2, "running", "backoff", "exited with 3", 77, 3, next_start=time.time() + 0.2)
    assert change.name == "web/2"
    assert str(change)[12:] == " web/2: running -> backoff (pid 77): exited with 3; next start in 0.2 s"
    assert str(change._replace(next_start=change.time + 300)).endswith("; next start in 300 s")
    found = change.as_dict()
    assert (found["from"], found["to"], found["code"]) == ("running", "backoff", 3)
    assert "signal" not in found and "rusage" not in found
    assert str(Notice.now("web", "its log is full"))[12:] == " web: its log is full"


def test_endings_in_words() -> None:
    assert ending(3, None) == "exited with 3"
    assert ending(None, 9) == "killed by SIGKILL"
    assert ending(None, 34) == "killed by SIGRTMIN+0"
    assert ending(None, None) == "how it ended is lost"


# ---- listening sockets ----


@pytest.mark.parametrize("listen", ["8080", "tcp:8080x", "tcp:host", "tcp::70000", "unix:", "sctp:a:1", "tcp:"])
def test_a_wrong_address_says_what_is_wrong(listen: str) -> None:
    with pytest.raises(ValueError, match=r"is not tcp:HOST:PORT|the port is a number"):
        ListenSocket("http", listen)
