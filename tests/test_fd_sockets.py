"""Descriptors over Unix sockets: owned at once, and none leaks whatever comes."""

from __future__ import annotations

import array
import errno
import os
import resource
import socket
import struct
from typing import Any

import pytest
from support import few_descriptors, in_child
from test_fd_owning import Plain, descriptors, told
from test_fd_waiting import interrupted

from rawsys import raw
from rawsys.errors import ClosedError
from rawsys.fd import Fd


def test_sent_descriptors_arrive_owned() -> None:
    """What is sent arrives as Fds in order, close-on-exec, of the same open files; the sender keeps its own."""
    one, other = Fd.socketpair()
    read, write = Fd.pipe()
    with one, other, read, write, Fd.memfd("sent") as file, socket.socket() as sock:
        file.write_all(b"content")
        write.cloexec = False
        assert one.send_fds(b"data", [file, write.fileno(), Plain.borrow(read.fileno()), sock]) == 4
        data, fds = other.recv_fds(100, 10)
        assert data == b"data"
        assert [type(fd) for fd in fds] == [Fd] * 4
        assert all(fd.cloexec for fd in fds)
        assert fds[0].pread(100, 0) == b"content"
        fds[1].write_all(b"through")
        assert fds[2].read(100) == b"through"
        assert fds[3].stat().inode == os.fstat(sock.fileno()).st_ino
        assert not file.closed
        for fd in fds:
            fd.close()
        assert file.stat().size == 7


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_every_kind_of_socket(kind: int) -> None:
    """Streams, datagrams and packets carry descriptors; data without descriptors comes as well, and the end is b""."""
    one, other = Fd.socketpair(socket.AF_UNIX, kind)
    with other:
        with one:
            one.send_fds(bytearray(b"first"), [other])
            data, (copy,) = other.recv_fds(5, 1)
            copy.close()
            assert data == b"first"
            one.send_fds(memoryview(b"second"), iter(()))
            assert other.recv_fds(100, 3) == (b"second", [])
            one.write_all(b"third")
            assert other.recv_fds(100, 0) == (b"third", [])
        if kind != socket.SOCK_DGRAM:
            assert other.recv_fds(100, 3) == (b"", [])


def test_stream_keeps_messages_with_descriptors_apart() -> None:
    """On a stream a receive ends before the bytes of the next descriptors, so that each set stays with its data."""
    one, other = Fd.socketpair()
    with one, other, Fd.memfd("first") as first, Fd.memfd("second") as second:
        first.write_all(b"1")
        one.send_fds(b"a", [first])
        one.send_fds(b"b", [second])
        for letter, size in ((b"a", 1), (b"b", 0)):
            data, (fd,) = other.recv_fds(100, 5)
            with fd:
                assert (data, fd.stat().size) == (letter, size)


@few_descriptors
def test_as_many_as_the_kernel_sends() -> None:
    """253 descriptors travel at once, one more is EINVAL."""
    one, other = Fd.socketpair()
    with one, other:
        one.send_fds(b"x", [one] * 253)
        _, fds = other.recv_fds(1, 253)
        assert len({fd.fileno() for fd in fds}) == 253
        for fd in fds:
            fd.close()
        with pytest.raises(OSError) as caught:
            one.send_fds(b"x", [one] * 254)
        assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(("sent", "wanted"), [(1, 0), (2, 1), (3, 2), (253, 1), (200, 199)])
def test_more_than_wanted_is_an_error_and_nothing_leaks(sent: int, wanted: int) -> None:
    """More descriptors than asked for are EMSGSIZE: all are closed, those that were asked for too."""
    one, other = Fd.socketpair()
    with one, other:
        one.send_fds(b"x", [one] * sent)
        before = descriptors()
        with pytest.raises(OSError) as caught:
            other.recv_fds(1, wanted)
        assert caught.value.errno == errno.EMSGSIZE
        assert descriptors() == before
        one.send_fds(b"y", [])
        assert other.recv_fds(1, wanted) == (b"y", [])


def test_credentials_and_pidfds_beside_descriptors() -> None:
    """A socket that passes credentials and a pidfd too (nobody asked for it: it is closed) gives the descriptors."""
    one, other = Fd.socketpair()
    with one, other:
        on = struct.pack("i", 1)
        assert raw.setsockopt(other, 1, socket.SO_PASSCRED, on, 4) == 0
        raw.setsockopt(other, 1, 76, on, 4)  # SO_PASSPIDFD, Linux 6.5
        one.send_fds(b"x", [one, one])
        before = descriptors()
        data, fds = other.recv_fds(10, 2)
        assert (data, len(fds)) == (b"x", 2)
        for fd in fds:
            fd.close()
        assert descriptors() == before


@few_descriptors
def test_owner_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """When one of the arrived descriptors gets no owner, none stays open."""

    class Odd(Fd):
        __slots__ = ()
        count = 0

        @classmethod
        def _fresh(cls, number: int) -> Odd:
            cls.count += 1
            if cls.count == 2:
                raw.close(number)
                raise MemoryError
            return super()._fresh(number)

    one, other = Fd.socketpair()
    with one, Odd(other.into_raw()) as receiver:
        one.send_fds(b"x", [one] * 4)
        before = descriptors()
        with told() as texts, pytest.raises(MemoryError):
            receiver.recv_fds(1, 4)
        assert texts == []
        assert descriptors() == before


def test_what_cannot_be_sent() -> None:
    """Wrong descriptors and missing data are refused, and nothing is sent."""
    one, other = Fd.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    closed = Fd.memfd("closed")
    closed.close()
    attempts: list[tuple[Any, Any, type[Exception]]] = [
        (b"x", [closed], ClosedError),
        (b"x", [one, -1], OSError),
        (b"x", [True], TypeError),
        (b"x", [1.0], TypeError),
        (b"x", ["1"], TypeError),
        (b"x", [2**31], OverflowError),
        (b"x", 5, TypeError),
        (b"", [one], ValueError),
        ("text", [one], TypeError),
    ]
    with one, other:
        for data, fds, error in attempts:
            with pytest.raises(error):
                one.send_fds(data, fds)
        with pytest.raises(BlockingIOError):
            other.recv_fds(1, 1)
        bad: Any
        for bad in (-1, True, 1.0):
            with pytest.raises((TypeError, ValueError)):
                other.recv_fds(bad, 1)
            with pytest.raises((TypeError, ValueError)):
                other.recv_fds(1, bad)
        with Fd.memfd("no socket") as file, pytest.raises(OSError) as caught:
            file.recv_fds(1, 1)
        assert caught.value.errno == errno.ENOTSOCK


def test_partial_send_tells_how_much() -> None:
    """A non-blocking stream that is nearly full takes a part; the descriptors go with its first byte."""
    one, other = Fd.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with one, other:
        size = one.send_fds(bytes(10_000_000), [one])
        assert 0 < size < 10_000_000
        with pytest.raises(BlockingIOError):
            one.send_fds(b"x", [one])
        data, (fd,) = other.recv_fds(10, 1)
        fd.close()
        assert len(data) == 10


def test_receive_goes_on_after_a_signal() -> None:
    """A receive that a signal interrupts runs the Python handler and goes on."""
    one, other = Fd.socketpair()
    with one, other:
        with interrupted(47, lambda: one.send_fds(b"late", [one])) as ran:
            data, (fd,) = other.recv_fds(10, 1)
        fd.close()
        assert (data, ran) == (b"late", ["ran"])


def test_handler_that_raises_leaks_nothing() -> None:
    """A handler that sends and raises: the receive ends with its exception, the descriptor stays in the socket."""
    one, other = Fd.socketpair()

    def handler() -> None:
        one.send_fds(b"x", [one])
        raise KeyError("handler")

    with one, other:
        before = descriptors()
        with interrupted(47, handler), pytest.raises(KeyError):
            other.recv_fds(10, 1)
        assert descriptors() == before
        _, (fd,) = other.recv_fds(10, 1)
        fd.close()


def test_to_another_process() -> None:
    """A child sends what only it has open."""
    one, other = Fd.socketpair()

    def child() -> None:
        with Fd.memfd("of the child") as file:
            file.write_all(b"from the child")
            one.send_fds(b"x", [file])

    with one, other:
        in_child(child)
        _, (fd,) = other.recv_fds(1, 1)
        with fd:
            assert fd.pread(100, 0) == b"from the child"


def test_too_many_in_flight() -> None:
    """An ordinary user's limit on descriptors in flight is OSError (ETOOMANYREFS), not a crash."""

    def test() -> int | None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        one, _other = Fd.socketpair()
        try:
            for _ in range(100):
                one.send_fds(b"x", [0] * 50)
        except OSError as error:
            return error.errno
        return None

    assert in_child(test) == errno.ETOOMANYREFS


def test_python_understands_us() -> None:
    """socket.recv_fds takes what send_fds sends, and the other way round."""
    one, two = socket.socketpair()
    with one, two:
        Fd.borrow(one.fileno()).send_fds(b"x", [one])
        _, numbers, _, _ = socket.recv_fds(two, 10, 3)
        os.close(numbers[0])
        two.sendmsg([b"y"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1]))])
        _, (fd,) = Fd.borrow(one.fileno()).recv_fds(10, 1)
        fd.close()


def test_number_stays_open_while_it_is_sent() -> None:
    """What is being sent counts as in use: into_raw is refused until it is over."""
    with Fd.memfd("in use") as fd:
        use = fd._use()  # type: ignore[attr-defined]
        assert use.number == fd.fileno()
        with pytest.raises(RuntimeError, match="in use by 1 call"):
            fd.into_raw()
        use.release()
        use.release()
        use = fd._use()  # type: ignore[attr-defined]
        number = fd.fileno()
        fd.close()
        assert number in descriptors()
        del use
        assert number not in descriptors()
