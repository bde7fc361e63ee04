"""Sockets as the kernel sees them: which one is the driver's, what is under way between two ends, numbers that no
driver gets, and a relay without a loop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import resource
import select
import socket
import struct
import termios
from typing import Any, NamedTuple

ASIDE = 512  # the gate's own sockets have numbers from here on, where the limit of open files allows
WANTED = 1024  # files, to which the limit is raised where the machine lets us
LEAST = 192  # files that a cell can do with, half of them the gate's: a crowd's connections fit


class TooFewDescriptors(Exception):
    """The limit of open files is too low for the gate: two lines, the second says what to do."""


@functools.cache
def first_aside() -> int:
    """The first number of the gate's own sockets: ASIDE, or half of what this process may have. Raises the soft limit
    of open files as far as it is wanted and allowed. Raises TooFewDescriptors."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit, hard = (WANTED if each == resource.RLIM_INFINITY else min(WANTED, each) for each in (limit, hard))
    if limit < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        limit = hard
    if limit < LEAST:
        raise TooFewDescriptors(
            f"a process may open {limit} files here, and the gate needs {LEAST}: nothing could be judged\n"
            f"raise the limit first: ulimit -n {WANTED}"
        )
    return min(ASIDE, limit // 2)


class DriverSocket:
    """The driver's end of a connection to the gate, which is in this same process: what both kernels' counters say is
    the exact fence around bytes in flight."""

    def __init__(self, gate_end: asyncio.Transport) -> None:
        theirs, ours = (gate_end.get_extra_info(name) for name in ("peername", "sockname"))
        self._gate_end = gate_end
        self._descriptor = _descriptor_between(theirs, ours)  # and the inode, for the number may be another socket's

    @property
    def found(self) -> bool:
        return self._descriptor is not None

    def unread(self) -> int:
        """Bytes that were delivered to it and that the driver has not read, 0 where that is not known."""
        if self._descriptor is None:
            return 0
        descriptor, inode = self._descriptor
        try:
            if os.fstat(descriptor).st_ino != inode:
                return 0
            waiting = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
        except OSError:
            return 0
        return int(struct.unpack("i", waiting)[0])

    def all_arrived(self) -> bool:
        """All that one end has sent is in the other end's queue, by the kernel's own counters."""
        if self._descriptor is None:
            return True
        descriptor, inode = self._descriptor
        try:
            if os.fstat(descriptor).st_ino != inode:
                raise OSError
            driver = socket.socket(fileno=descriptor)
        except OSError:
            self._descriptor = None
            return True
        try:
            theirs = _counters(driver)
        finally:
            driver.detach()
        ours = _counters(self._gate_end.get_extra_info("socket"))
        if theirs is None or ours is None:
            return True  # see _counters
        # Unsent is what the kernel keeps back (Nagle's algorithm): it is under way too. But where the driver does not
        # read what it has been given, more of it may never be sent.
        under_way = theirs.unsent or (ours.unsent and not self.unread())
        return not under_way and theirs.sent == ours.received and ours.sent == theirs.received


class _Counted(NamedTuple):
    """Bytes as one end's kernel counts them."""

    sent: int
    received: int
    unsent: int


def _counters(connection: Any) -> _Counted | None:
    """What TCP_INFO says (struct tcp_info of linux/tcp.h); None where the platform does not say, as macOS. There what
    is on its way over loopback is taken for arrived, which it is a moment later."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    except (OSError, AttributeError):
        return None
    if len(info) < 216:
        return None
    received = struct.unpack_from("=Q", info, 128)[0]
    unsent = struct.unpack_from("=I", info, 144)[0]
    sent, again = struct.unpack_from("=QQ", info, 200)
    return _Counted(sent - again, received, unsent)


def _descriptor_between(own: tuple[str, int], peer: tuple[str, int]) -> tuple[int, int] | None:
    """This process's socket with these two addresses. Both count: a connection that an earlier run has lost may have
    had the same port."""
    try:
        names = os.listdir("/proc/self/fd")  # noqa: PTH208 - for every connection: quicker than pathlib
    except OSError:
        return None
    aside_from = first_aside()
    for name in sorted(names, key=int, reverse=True):  # the newest descriptors first: it was just opened
        with contextlib.suppress(OSError):
            if int(name) >= aside_from or not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):  # noqa: PTH115
                continue
            candidate = socket.socket(fileno=int(name))
            try:
                if candidate.family != socket.AF_INET or candidate.getsockname()[:2] != own[:2]:
                    continue
                if candidate.getpeername()[:2] == peer[:2]:
                    return int(name), os.fstat(int(name)).st_ino
            finally:
                candidate.detach()
    return None


def aside(connection: socket.socket) -> socket.socket:
    """The same connection under a number that no driver's socket will get; ``connection`` is closed. Raises OSError
    when no number is left: to keep the old one would be a fence with a hole that nobody sees.

    A driver that uses a loop from a foreign thread can leave the number of a closed socket registered there; whoever
    gets the number next is deaf. That may be a connection of the driver, but not one of the gate.
    """
    with connection:
        made = socket.socket(fileno=fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, first_aside()))
    # asyncio does so only where a socket knows its protocol, which an accepted one does not everywhere. With Nagle's
    # algorithm the kernel keeps a small write back until the one before is acknowledged: an answer in two parts is 40
    # ms late.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


class Listening(socket.socket):
    """A listening socket whose connections are set aside."""

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        return aside(connection), address


def relay_until(listening: socket.socket, upstream: tuple[str, int], ended: int) -> None:
    """Take one connection and pass bytes on both ways, until both ends are through or the pipe ``ended`` is closed."""
    first: list[Any] = [listening, ended]
    if ended in select.select(first, [], [])[0]:
        return
    near, _ = listening.accept()
    near.setblocking(True)
    far = socket.create_connection(upstream)
    other = {near: far, far: near}
    while other:
        waiting: list[Any] = [*other, ended]
        ready = select.select(waiting, [], [])[0]
        if ended in ready:
            return
        for one in ready:
            data = one.recv(65536)
            if data:
                other[one].sendall(data)
            else:
                other.pop(one).shutdown(socket.SHUT_WR)
