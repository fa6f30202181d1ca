"""announce: what a child says of itself before it executes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from support import ended

from rawsys import Command, raw

SO_PASSPIDFD, SCM_PIDFD = 76, 4
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A sender and a receiver, which is told who sends."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with sender, receiver:
        sender.setblocking(False)
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        yield sender, receiver


def heard(receiver: socket.socket) -> tuple[bytes, int, int | None]:
    """What was said, by which process, and its pidfd where the kernel gives one."""
    room = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4)
    data, control, _, _ = receiver.recvmsg(100, room)
    found = {kind: content for _, kind, content in control}
    pidfd = found.get(SCM_PIDFD)
    number = int.from_bytes(found[socket.SCM_CREDENTIALS][:4], "little")
    return data, number, None if pidfd is None else int.from_bytes(pidfd, "little")


def test_it_is_heard_before_the_program_runs(pair: Pair) -> None:
    """When spawn returns the receiver has it, from the child itself, though the program has not done a thing."""
    sender, receiver = pair
    with Command("sleep", "100", announce=(sender, b"here")).spawn() as child:
        assert heard(receiver) == (b"here", child.pid, None)
        child.kill()


def test_a_pidfd_comes_with_it(pair: Pair) -> None:
    """Of the child, before anything that it starts (Linux 6.5)."""
    sender, receiver = pair
    try:
        receiver.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    except OSError:
        pytest.skip("this kernel attaches no pidfd")
    with Command("sleep", "100", announce=(sender, b"here")).spawn() as child:
        data, number, pidfd = heard(receiver)
        assert (data, number) == (b"here", child.pid)
        assert pidfd is not None
        try:
            assert raw.pidfd_send_signal(pidfd, 9, None, 0) == 0
            assert ended(pidfd, 10)
        finally:
            os.close(pidfd)
        assert child.wait().signal == 9


def test_a_socket_where_a_descriptor_of_the_child_comes_to_lie(pair: Pair) -> None:
    """The child's own descriptors are placed before; it speaks over the right one all the same."""
    sender, receiver = pair
    command = Command("true", fds={sender.fileno(): 0}, announce=(sender, b"here"))
    assert command.run().success
    assert heard(receiver)[0] == b"here"


def test_the_program_does_not_get_the_socket(pair: Pair) -> None:
    """It is closed at exec like all others."""
    sender, _ = pair
    found = Command("ls", "/proc/self/fd", announce=(sender, b"here")).output(text=True).stdout
    assert found.split() == ["0", "1", "2", "3"]  # the last is that of the listing itself


def test_a_receiver_that_is_gone_is_no_error(pair: Pair) -> None:
    """Neither EPIPE nor SIGPIPE."""
    sender, receiver = pair
    receiver.close()
    assert Command("true", announce=(sender, b"here")).run().success


def test_a_receiver_that_takes_nothing_fails_the_spawn(pair: Pair) -> None:
    """EAGAIN, and the step is named; nothing has run."""
    sender, _ = pair
    with pytest.raises(BlockingIOError):
        while True:
            sender.send(bytes(1000))
    with pytest.raises(BlockingIOError) as caught:
        Command("true", announce=(sender, b"here")).spawn()
    assert "in the child: sendto(" in caught.value.__notes__[0]


def test_each_start_announces_itself(pair: Pair) -> None:
    """A command's kept steps say it again, in each child's name."""
    sender, receiver = pair
    command = Command("true", announce=(sender, b"here"))
    for _ in range(3):
        with command.spawn() as child:
            assert heard(receiver)[:2] == (b"here", child.pid)
