"""The kernel's constants that this package uses, as plain ints: the enums of rawsys.constants cost time at import.

A test compares each with the member of its name in rawsys.constants.
"""

from __future__ import annotations

CLOCK_MONOTONIC = 1
CLOCK_REALTIME = 0
EPOLLERR = 8
EPOLLHUP = 0x10
EPOLLIN = 1
EPOLLOUT = 4
EPOLL_CTL_ADD = 1
EPOLL_CTL_DEL = 2
EPOLL_CTL_MOD = 3
IN_CLOEXEC = 0o2000000
IN_IGNORED = 0x8000
IN_NONBLOCK = 0o4000
O_CLOEXEC = 0o2000000
TFD_CLOEXEC = 0o2000000
TFD_NONBLOCK = 0o4000
TFD_TIMER_ABSTIME = 1
TFD_TIMER_CANCEL_ON_SET = 2

EAGAIN = 11
EBADF = 9
EEXIST = 17
EINTR = 4
ENOENT = 2
EPERM = 1

SIGNAL_SET = 8
"""The kernel's size of a signal mask that is not given."""
