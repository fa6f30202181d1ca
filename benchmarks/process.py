"""Starting and awaiting processes: Command against subprocess, and against vfork and exec in C."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import subprocess
import sys
import textwrap
from time import perf_counter_ns

from benchmarks.harness import Missing, Setting, Sides, Topic, limit, peer
from benchmarks.limits import compile_c
from rawsys import Command
from rawsys.bench import Side, loop

TOPIC = Topic("process", "starting and awaiting processes")
TRUE = shutil.which("true") or "/bin/true"

_VFORK = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
extern char **environ;
static long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }
long limit(long count, const char *file, int pipes)
{
    char *const argv[] = {(char *)file, 0};
    long begin = now();
    for (long i = 0; i < count; i++) {
        int ends[3][2];
        for (int k = 0; k < pipes; k++)
            if (pipe2(ends[k], O_CLOEXEC)) return -1;
        pid_t pid = vfork();
        if (pid == 0) {
            for (int k = 0; k < pipes; k++)
                dup2(ends[k][k > 0], k);
            execve(file, argv, environ);
            _exit(127);
        }
        for (int k = 0; k < pipes; k++)
            close(ends[k][k > 0]), close(ends[k][k == 0]);
        siginfo_t info;
        waitid(P_PID, pid, &info, WEXITED);
    }
    return now() - begin;
}
long together(long count, const char *file, int children)
{
    char *const argv[] = {(char *)file, 0};
    long begin = now();
    for (long i = 0; i < count; i++) {
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        for (int k = 0; k < children; k++) {
            pid_t pid = vfork();
            if (pid == 0) {
                execve(file, argv, environ);
                _exit(127);
            }
            struct epoll_event event = {EPOLLIN, {.fd = (int)syscall(SYS_pidfd_open, pid, 0)}};
            if (event.data.fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event))
                return -1 - errno;
        }
        for (int left = children; left;) {
            struct epoll_event ready[64];
            int got = epoll_wait(epoll, ready, 64, -1);
            for (int k = 0; k < got; k++, left--) {
                /* Taken out before it is closed: a child in the middle of exec has a copy yet, and epoll would tell of that. */
                siginfo_t info;
                epoll_ctl(epoll, EPOLL_CTL_DEL, ready[k].data.fd, 0);
                waitid(3, ready[k].data.fd, &info, WEXITED); /* P_PIDFD */
                close(ready[k].data.fd);
            }
        }
        close(epoll);
    }
    return now() - begin;
}
"""


def vfork_in_c(pipes: int = 0, children: int = 0) -> Side:
    """The limit: vfork, exec and waitid; of so many `children` at once, by pidfd and epoll."""
    library = compile_c(_VFORK)
    function = library.together if children else library.limit
    function.restype, function.argtypes = ctypes.c_long, [ctypes.c_long, ctypes.c_char_p, ctypes.c_int]
    return lambda count: int(function(count, TRUE.encode(), children or pipes))


class Worker:
    """Another interpreter that makes an operation so many times when it is asked: a parent of its own size."""

    def __init__(self, setting: Setting, ballast: int = 0) -> None:
        code = f"""
            import mmap, os, resource, subprocess, sys
            from time import perf_counter_ns
            from rawsys import Command
            TRUE = {TRUE!r}
            plain, as_nobody = Command(TRUE), Command(TRUE, user=65534, group=65534)
            ballast = mmap.mmap(-1, {ballast} or 1, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            ballast.madvise(mmap.MADV_NOHUGEPAGE)
            for place in range(0, len(ballast), 4096):
                ballast[place] = 1
            sides = {{}}
            for line in sys.stdin:
                what, _, rest = line.partition(" ")
                if what == "side":
                    exec(f"def run(count):\\n for _ in range(count): {{eval(rest)}}", globals())
                    sides[len(sides)] = run
                    print(len(sides) - 1, flush=True)
                else:
                    begin = perf_counter_ns()
                    sides[int(what)](int(rest))
                    print(perf_counter_ns() - begin, flush=True)
        """
        self._process = setting.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        setting.callback(self._stop)

    def _stop(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, line: str) -> int:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def side(self, statement: str) -> Side:
        """A side that runs in the worker."""
        number = self._ask(f"side {statement!r}")
        return lambda count: self._ask(f"{number} {count}")


@TOPIC.row("spawn and wait of true", patience=0.5)
def spawn(setting: Setting) -> Sides:
    """The common case.

    What bounds it: vfork, exec and waitid in C alone are 0.86 to 0.90 of subprocess.run.  clone3 with a pidfd and the steps
    is 1.01 to 1.03 of that; the rest is Python's, some 20 us before clone and after waitid, with cold caches.
    """
    command = Command(TRUE)
    theirs = peer("subprocess.run", loop("f(a)", f=subprocess.run, a=[TRUE]), "<= 0.90")
    return Sides(loop("f()", f=command.run), [theirs, limit(vfork_in_c, "<= 1.20", "vfork, exec, waitid in C")])


@TOPIC.row("the same, with captured output", patience=0.5)
def output(setting: Setting) -> Sides:
    """Two pipes, read to their ends."""
    theirs = loop("f(a, capture_output=True)", f=subprocess.run, a=[TRUE])
    return Sides(loop("f()", f=Command(TRUE).output), [peer("subprocess.run, capture_output", theirs)])


def _six() -> None:
    os.setsid()
    os.umask(0o27)
    os.nice(3)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import signal

    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1])


@TOPIC.row("six attributes: cwd, session, umask, nice, rlimit, mask", patience=0.25)
def attributes(setting: Setting) -> Sides:
    """What needs Python in the child there is steps here."""
    command = Command(
        TRUE, cwd="/", new_session=True, umask=0o27, nice=3, rlimits={resource.RLIMIT_CORE: 0}, signal_mask=[10]
    )
    theirs = loop("f(a, cwd='/', preexec_fn=six)", f=subprocess.run, a=[TRUE], six=_six)
    return Sides(loop("f()", f=command.run), [peer("subprocess, preexec_fn", theirs, "<= 0.3")])


@TOPIC.row("user and group, parent with 1 GiB touched", patience=0.05)
def user(setting: Setting) -> Sides:
    """The parent's pages are copied there, and shared until exec here."""
    if os.geteuid():
        raise Missing("changing the user needs root")
    worker = Worker(setting, setting.size(1 << 30, 1 << 24))
    ours = worker.side("as_nobody.run()")
    theirs = worker.side("subprocess.run([TRUE], user=65534, group=65534)")
    return Sides(ours, [peer("subprocess, user= and group=", theirs, "<= 0.05")])


@TOPIC.row("parent with 2 GiB touched", patience=0.25)
def large(setting: Setting) -> Sides:
    """The size of the parent costs nothing."""
    big, small = Worker(setting, setting.size(2 << 30, 1 << 24)), Worker(setting)
    statement = "plain.run()"
    return Sides(big.side(statement), [peer("parent with nothing", small.side(statement), "<= 1.2")])


def _with_fds(setting: Setting, count: int) -> Worker:
    worker = Worker(setting)
    worker.side("None")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < count + 100:
        raise Missing(f"the hard limit of descriptors is below {count + 100}")
    opening = worker.side(
        f"(resource.setrlimit(resource.RLIMIT_NOFILE, ({count + 100},) * 2),"
        f" [os.open('/dev/null', os.O_CLOEXEC) for _ in range({count})])"
    )
    opening(1)
    return worker


@TOPIC.row("10,000 open descriptors, nothing kept above 2", patience=0.25)
def descriptors(setting: Setting) -> Sides:
    """The table is shared for a step, not copied."""
    many, few = _with_fds(setting, setting.size(10_000, 500)), _with_fds(setting, 10)
    statement = "plain.run()"
    return Sides(many.side(statement), [peer("with 10 open", few.side(statement), "<= 1.3")])


@TOPIC.row("10,000 open descriptors, with pipes", patience=0.25)
def descriptors_and_pipes(setting: Setting) -> Sides:
    """The table is copied and closed, as in C."""
    count = setting.size(10_000, 500)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 100:
        raise Missing(f"the hard limit of descriptors is below {count + 100}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    setting.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    for _ in range(count):
        setting.callback(os.close, os.open(os.devnull, os.O_CLOEXEC))
    from rawsys import PIPE

    command = Command(TRUE, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    ours = loop("with f(): pass", f=command.spawn)
    return Sides(ours, [limit(lambda: vfork_in_c(3), "<= 1.1", "vfork, exec, waitid in C")])


def _thousand(children: int) -> Side:
    command = Command(TRUE)

    def side(count: int) -> int:
        begin = perf_counter_ns()
        for _ in range(count):
            with select.epoll() as epoll:
                running = {}
                for _ in range(children):
                    child = command.spawn()
                    epoll.register(child, select.EPOLLIN)
                    running[child.fileno()] = child
                while running:
                    for fd, _ in epoll.poll():
                        epoll.unregister(fd)
                        running.pop(fd).wait()
        return perf_counter_ns() - begin

    return side


def _popens(children: int) -> Side:
    def side(count: int) -> int:
        begin = perf_counter_ns()
        for _ in range(count):
            for process in [subprocess.Popen([TRUE]) for _ in range(children)]:
                process.wait()
        return perf_counter_ns() - begin

    return side


@TOPIC.row("1,000 children spawned, all waited for through epoll", patience=0.03)
def thousand(setting: Setting) -> Sides:
    """Many at once, on two processors mostly the kernel's time in the children: see the limit in C."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    children = min(setting.size(1000, 20), hard - 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, children + 100), hard))
    setting.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    theirs = peer("subprocess.Popen, then wait", _popens(children), "<= 0.9")
    bare = limit(lambda: vfork_in_c(children=children), name="vfork, exec, pidfd, epoll in C")
    return Sides(_thousand(children), [theirs, bare], operations=children)
