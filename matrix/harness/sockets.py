"""Sockets as the kernel sees them: which one is the driver's, what is under way between two ends, numbers that no
driver gets, and a relay without a loop."""

from __future__ import annotations

import _socket
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
import threading
from typing import Any, NamedTuple

from .loop import thread_rests

LOOPBACK = "127.0.0.1"
ASIDE = 512  # the gate's own sockets have numbers from here on, where the limit of open files allows
WANTED = 1024  # files, to which the limit is raised where the machine lets us
ESTABLISHED = 1  # a TCP connection's state in tcp_info that neither end has closed
LEAST = 192  # files that a cell can do with, half of them the gate's: a crowd's connections fit


class NoFence(Exception):
    """The gate could not know here what is under way: two lines, the second says what to do."""


def check_fence() -> None:
    """Whether this machine says what the gate has to know of sockets and threads. Raises NoFence."""
    first_aside()
    try:
        socket.create_server((LOOPBACK, 0)).close()
    except OSError as error:
        raise NoFence(
            f"the gate cannot listen on {LOOPBACK}: {error.strerror}\n"
            "switch IPv4's loopback on: ip addr add 127.0.0.1/8 dev lo; ip link set lo up"
        ) from None
    with (
        socket.create_server((LOOPBACK, 0)) as listening,
        socket.create_connection(listening.getsockname()) as near,
        listening.accept()[0] as far,
    ):
        known = {
            "which socket is the driver's (/proc/self/fd)": _descriptor_between(near.getsockname(), far.getsockname()),
            "what is under way in a connection (TCP_INFO of Linux 4.19 or newer)": _counters(far),
            "whether a thread sleeps (/proc/self/task)": thread_rests(threading.get_native_id())[1],
        }
    if lacking := [what for what, found in known.items() if not found]:
        raise NoFence(
            f"this machine does not say {', nor '.join(lacking)}: nothing could be judged\n"
            "run it on Linux with /proc mounted (sqlite-aiosqlite needs neither)"
        )


@functools.cache
def first_aside() -> int:
    """The first number of the gate's own sockets: ASIDE, or half of what this process may have. Raises the soft limit
    of open files as far as it is wanted and allowed. Raises NoFence."""
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit, hard = (WANTED if each == resource.RLIM_INFINITY else min(WANTED, each) for each in (limit, hard))
    if limit < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        limit = hard
    if limit < LEAST:
        raise NoFence(
            f"a process may open {limit} files here, and the gate needs {LEAST}: nothing could be judged\n"
            f"raise the limit first: ulimit -n {WANTED}"
        )
    return min(ASIDE, limit // 2)


class DriverSocket:
    """The driver's end of a connection to the gate, which is in this same process: what both kernels' counters say is
    the exact fence around bytes in flight."""

    def __init__(self, gate_end: asyncio.Transport, failures: list[str]) -> None:
        self._gate_end = gate_end
        self._failures = failures  # told where the counters cannot be had of a connection that is open
        self._descriptor = self._find()

    @property
    def found(self) -> bool:
        return self._descriptor is not None

    def _find(self) -> tuple[int, int] | None:
        theirs, ours = (self._gate_end.get_extra_info(name) for name in ("peername", "sockname"))
        found = _descriptor_between(theirs, ours)
        if found is None and _open_there(self._gate_end.get_extra_info("socket")):
            self._failures.append(
                f"the gate's connection from {theirs} is open, and no file of this process: what is under way there is "
                "not known (does the driver connect from another process?)"
            )
        return found

    def number(self) -> int | None:
        """The driver's descriptor; None when it has closed its end. It may have gone on under another number."""
        if self._descriptor is not None and not _is(*self._descriptor):
            self._descriptor = self._find()
        return self._descriptor[0] if self._descriptor else None

    def unread(self) -> int:
        """Bytes that were delivered to it and that the driver has not read; 0 when it has closed its end."""
        number = self.number()
        if number is None:
            return 0
        try:
            return int(struct.unpack("i", fcntl.ioctl(number, termios.FIONREAD, b"\0\0\0\0"))[0])
        except OSError:
            if self.number() is None:  # closed between the two, by a thread
                return 0
            raise

    def all_arrived(self) -> bool:
        """All that one end has sent is in the other end's queue, by the kernel's own counters."""
        number = self.number()
        if number is None:
            return True
        try:
            # Told what it is: else the kernel is asked three times, and this is asked for thousands of times a run.
            driver = _socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, number)
        except OSError:
            return self.number() is None
        try:
            theirs = _counters(driver)
        finally:
            driver.detach()
        ours = _counters(self._gate_end.get_extra_info("socket"))
        if theirs is None or ours is None:
            return True  # closed meanwhile: check_fence has seen that counters are to be had
        # Unsent is what the kernel keeps back (Nagle's algorithm): it is under way too. But where the driver does not
        # read what it has been given, more of it may never be sent.
        under_way = theirs.unsent or (ours.unsent and not self.unread())
        return not under_way and theirs.sent == ours.received and ours.sent == theirs.received


def _is(number: int, inode: int) -> bool:
    try:
        return os.fstat(number).st_ino == inode
    except OSError:
        return False


def _open_there(connection: Any) -> bool:
    """Whether the other end of a connection has closed it neither way yet, as the kernel knows."""
    try:
        return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED)
    except OSError:  # this end is closed
        return False


_TCP_INFO = struct.Struct("=128xQ8xI52xQQ")  # tcpi_bytes_received, _notsent_bytes, _bytes_sent, _bytes_retrans


class _Counted(NamedTuple):
    """Bytes as one end's kernel counts them."""

    sent: int
    received: int
    unsent: int


def _counters(connection: Any) -> _Counted | None:
    """What TCP_INFO says (struct tcp_info of linux/tcp.h); None of a closed one, and where it is not said."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
    except (OSError, AttributeError):
        return None
    if len(info) < _TCP_INFO.size:
        return None
    received, unsent, sent, again = _TCP_INFO.unpack_from(info)
    return _Counted(sent - again, received, unsent)


def _descriptor_between(own: tuple[str, int], peer: tuple[str, int]) -> tuple[int, int] | None:
    """This process's socket with these two addresses, and its inode: the number may be another socket's later. Both
    addresses count: a connection that an earlier run has lost may have had the same port."""
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


class ListeningSocket(socket.socket):
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
    far = aside(socket.create_connection(upstream))
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
