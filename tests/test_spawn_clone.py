"""What a spawn is made of, on any kernel: clone3, clone, the child's code; edge cases 10, 40 to 50 and the child law."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from support import INTERPRETER, children, fail_calls, in_child, need, need_root, script

import rawsys
from rawsys import Command, Fd, Pid, Program, raw, structs
from rawsys.constants import (
    CLONE_INTO_CGROUP,
    CLONE_NEWTIME,
    CLONE_NEWUTS,
    CLONE_PARENT,
    CLONE_PIDFD,
    SIGUSR1,
)

CSRC = Path(rawsys.__file__).with_name("csrc")


def trace(code: str, *options: str) -> str:
    need("strace")
    done = subprocess.run(
        ["strace", "-f", "-qq", *options, INTERPRETER, "-c", script(code)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stderr


def test_one_clone3_and_then_the_steps_alone() -> None:
    """strace: one clone3 with PIDFD, VM and VFORK; until execve the child makes the steps' calls only."""
    code = """
    import rawsys
    rawsys.Command("/bin/true", cwd="/", umask=0o22, stdin=rawsys.PIPE, new_session=True, nice=1).run()
    """
    lines = trace(code).splitlines()
    clones = [line for line in lines if re.match(r"(\[pid +\d+\] )?(clone3?|v?fork)\(", line)]
    assert len(clones) == 1 and clones[0].startswith("clone3("), clones
    for flag in ("CLONE_VM", "CLONE_VFORK", "CLONE_PIDFD", "CLONE_CLEAR_SIGHAND"):
        assert flag in clones[0]
    begin = lines.index(clones[0])
    child = next(m[1] for line in lines[begin + 1 :] if (m := re.match(r"\[pid +(\d+)\] (?!.*clone3 resumed)", line)))
    calls = []
    for line in lines[begin + 1 :]:
        if m := re.match(rf"\[pid +{child}\] (\w+)\(", line):
            calls.append(m[1])
            if m[1] == "execve":
                break
    assert calls == [
        "rt_sigaction", "rt_sigaction", "setsid", "setpriority", "dup3", "umask", "chdir", "close_range", "rt_sigprocmask", "execve",
    ]  # fmt: skip


def test_the_childs_code_knows_only_the_interpreter(tmp_path: Path) -> None:
    """nm -u child.o: rs_run and rs_first_failure; no libc, no stack protector."""
    compiler = shutil.which("cc") or shutil.which("gcc") or pytest.skip("no C compiler is installed")
    need("nm")
    if not (CSRC / "child.c").exists():
        pytest.skip("the C sources are not here")
    flags = ["-std=gnu11", "-O2", "-fPIC", "-fstack-protector-strong", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-c", CSRC / "child.c", "-o", tmp_path / "child.o"], check=True)
    unknown = subprocess.run(["nm", "-u", tmp_path / "child.o"], check=True, capture_output=True, text=True).stdout
    assert set(unknown.split()) - {"U"} == {"rs_run", "rs_first_failure"}


@pytest.mark.parametrize("number", [0, errno.ENOSYS, errno.EPERM])
def test_with_and_without_clone3(number: int) -> None:
    """The parent's handlers are not in the child before exec, ignored signals are still ignored (43, 47).

    The same where a kernel or filter has no clone3: the older clone does all that (10).
    """

    def work() -> tuple[bytes, list[int]]:
        signal.signal(SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if number:
            fail_calls(number, 435)
        out = Command("cat", cwd="/", umask=0o22).output(input=b"x").stdout
        read, write = Fd.pipe()
        steps = Program()  # tells the child's actions before exec, which would reset them
        for each in (SIGUSR1, signal.SIGHUP, signal.SIGPIPE):
            action = steps.buffer(32)
            steps.rt_sigaction(each, None, action, 8)
            steps.write(write, action, 8)
        with read, write:
            assert Command("true", steps=steps).run().success
            handlers = [int.from_bytes(read.read(8), "little") for _ in range(3)]
        with pytest.raises(FileNotFoundError):
            Command("/no/such").run()
        return out, handlers

    assert in_child(work) == (b"x", [0, 1, 0])


def test_what_the_older_clone_cannot_give() -> None:
    """Without clone3, a cgroup or time namespace is OSError (ENOSYS); EPERM with a namespace is no reason to fall back (10)."""
    need_root()

    def work(number: int) -> list[int]:
        fail_calls(number, 435)
        errnos = []
        for attributes in ({"cgroup": "/"}, {"namespaces": int(CLONE_NEWTIME)}, {"namespaces": int(CLONE_NEWUTS)}):
            try:
                Command("true", **attributes).run()
                errnos.append(0)
            except OSError as error:
                errnos.append(error.errno or 0)
        return errnos

    assert in_child(work, errno.ENOSYS) == [errno.ENOSYS, errno.ENOSYS, 0]
    assert in_child(work, errno.EPERM) == [errno.EPERM] * 3


def test_what_the_kernel_refuses_of_clone3() -> None:
    """Unknown flags, sizes and pairs, a bad address, cgroup or number: its errno, and no child (41, 42, 44, 45)."""
    need_root()
    child = Pid.fork(signal.pause)
    taken, in_use = bytearray(child.pid.to_bytes(4, "little")), os.open("/dev/null", os.O_RDONLY)

    def ask(size: int = 88, tid: bytearray | None = None, **fields: int) -> int:
        args = structs.clone_args(**{"exit_signal": 17, **fields})
        if tid:
            args.point("set_tid", tid)
        answer = raw.clone3(bytes(args).ljust(size, b"\1"), size)
        if answer == 0:
            rawsys.raw_exit(0)  # a kernel that knows more
        return answer

    answers = [
        ask(flags=1 << 40),
        ask(exit_signal=65),
        ask(flags=int(CLONE_PARENT)),  # with an exit signal, which is the parent's to say
        ask(size=128),  # what a later kernel may know is set
        ask(flags=int(CLONE_PIDFD), pidfd=1),
        ask(flags=int(CLONE_INTO_CGROUP), cgroup=in_use),
        ask(tid=taken, set_tid_size=1),
    ]
    names = ["EINVAL", "EINVAL", "EINVAL", "E2BIG", "EFAULT", "EBADF", "EEXIST"]
    assert [errno.errorcode[-answer] for answer in answers] == names
    assert len(children()) == 1
    os.close(in_use)
    child.kill()
    child.wait()

    def work() -> int:
        os.setresuid(65534, 65534, 65534)
        return ask(tid=taken, set_tid_size=1)  # free by now, but for those who may

    assert in_child(work) == -errno.EPERM


def test_pidfds_are_closed_at_exec() -> None:
    """The pidfds of children and strangers have the close-on-exec flag (42)."""
    spawned, forked = Command("sleep", "100").spawn(), Pid.fork(signal.pause)
    with Pid.open(os.getpid()) as stranger:
        assert not any(os.get_inheritable(each.fileno()) for each in (spawned, forked, stranger))
    for each in (spawned, forked):
        each.kill()
        each.wait()


def test_after_the_time_namespace_was_unshared() -> None:
    """A process whose children get another time namespace can spawn, though some kernels refuse shared memory there (50)."""
    need_root()

    def work() -> tuple[bytes, str]:
        if raw.unshare(CLONE_NEWTIME):
            pytest.skip("no time namespaces here")
        out = Command("echo", "x").output().stdout
        with pytest.raises(FileNotFoundError) as caught:
            Command("true", cwd="/nope").run()
        return out, caught.value.__notes__[0]

    assert in_child(work) == (b"x\n", 'in the child: chdir("/nope")')


def test_without_shared_memory() -> None:
    """Where CLONE_VM is refused with EINVAL the child gets a copy, and its errors arrive all the same (50)."""
    need("strace")
    code = """
    import rawsys
    assert rawsys.Command("echo", "x").output().stdout == b"x\\n"
    try:
        rawsys.Command("true", cwd="/nope").run()
    except FileNotFoundError as error:
        assert error.__notes__ == ['in the child: chdir("/nope")'], error.__notes__
    else:
        raise AssertionError
    assert rawsys.Command("true").run().success
    """
    text = trace(code, "-e", "trace=clone3", "-e", "inject=clone3:error=EINVAL:when=1+2")
    assert text.count("INJECTED") == 3 and "CLONE_VFORK" in text
