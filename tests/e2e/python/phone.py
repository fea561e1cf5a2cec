"""A phone's app in Python: a host for the core, and a system that follows its plans as Android would."""

import asyncio
import atexit
import fcntl
import inspect
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

import packets
from weft_ffi import (
    Host,
    NetworkInfo,
    PrivateDns,
    Session,
    SessionConfig,
    State,
    WeftError,
    parse_enrolment_link,
)

# How long anything may take that should be there at once: the machine may be busy.
SOON = 30
MARK, TABLE = 119, 119
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LAN_RESOLVER = os.environ.get("WEFT_LAN_RESOLVER", "192.0.2.1")


class AppHost(Host):
    """Keeps secrets in memory. `manners` makes a call fail: an exception to raise, or an event to wait for."""

    def __init__(self, state=None):
        self.secrets = {} if state is None else {"state": state}
        self.manners = {}
        self.calls = []

    def _asked(self, call):
        self.calls.append(call)
        manner = self.manners.get(call)
        if isinstance(manner, threading.Event):
            manner.wait()
        elif manner is not None:
            raise manner

    def protect(self, fd):
        self._asked("protect")
        with socket.socket(fileno=os.dup(fd)) as outside:
            outside.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)

    def load_secret(self, name):
        self._asked("load_secret")
        return self.secrets.get(name)

    def store_secret(self, name, value):
        self._asked("store_secret")
        if value is None:
            self.secrets.pop(name, None)
        else:
            self.secrets[name] = value

    def network(self):
        self._asked("network")
        return network()


def network():
    """The network that the phone is on."""
    return NetworkInfo(
        id="100", interface="eth0", has_v4=True, has_v6=True, dns_servers=[LAN_RESOLVER], metered=False,
        private_dns=PrivateDns.OFF(),
    )


def config(**changes):
    """What a session starts with."""
    fields = dict(device_name="Ann's phone", os="linux", os_version="6.1", managed=None, dns_cache_bytes=None)
    return SessionConfig(**(fields | changes))


def open_tun(name):
    """A TUN device's descriptor, to be handed over."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return descriptor


def ip(line):
    """Runs `ip` with these words."""
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {line}: {done.stderr.strip()}")


def held():
    """The threads and descriptors of this process. The listing's own descriptor counts every time."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


@atexit.register
def wait_for_the_core():
    """Waits for the core's threads: one that is on its way back from Python when the interpreter ends aborts the process."""
    end = time.monotonic() + SOON
    while (threads := held()[0]) > 1:
        if time.monotonic() > end:
            sys.stderr.write(f"there are still {threads} threads\n")
            return
        # They are the core's own, which nobody here can join.
        time.sleep(0.01)


class Case(unittest.IsolatedAsyncioTestCase):
    """A test on an event loop that does not complain of a busy machine."""

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)


async def eventually(found, tell):
    """Polls until `found`, which may be asynchronous, holds; `tell` says what is there instead where it never does."""
    end = time.monotonic() + SOON
    while True:
        holds = found()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        assert time.monotonic() < end, tell()
        await asyncio.sleep(0.01)


async def nothing_is_left_of(before):
    """Waits until the process has no more threads and descriptors than before."""
    await eventually(lambda: held() == before, lambda: f"threads and descriptors: {before} became {held()}")


class Phone:
    """A session whose plans are put into force. With a flow the packets are the app's, else a descriptor's."""

    def __init__(self, host=None, with_flow=False):
        self.host = host or AppHost()
        self.session = Session(config(), self.host)
        self.flow = self.session.packet_flow() if with_flow else None
        self.plan = None
        self.status = None
        self._interface = False
        self._news = asyncio.Event()
        self._events = asyncio.create_task(self._pull())

    async def _pull(self):
        try:
            while (event := await self.session.next_event()) is not None:
                if event.is_PANICKED():
                    raise AssertionError(event.detail)
                if event.is_STATUS():
                    self.status = event.status
                elif event.is_PLAN():
                    await self._apply(event.plan)
                self._news.set()
        finally:
            self._news.set()

    async def _apply(self, plan):
        if plan.interface is not None and not self._interface and self.flow is None:
            self._raise_interface(plan)
        elif plan.interface is None and self._interface:
            self._lower_interface()
        if self._interface:
            self._set_resolvers(plan.dns.servers if plan.dns else None)
        self.plan = plan
        await self.session.acknowledge_plan(plan.number, None)

    def _raise_interface(self, plan):
        descriptor = open_tun("tun0")
        raise_interface("tun0", plan)
        self.session.attach_tun(descriptor)
        self._interface = True

    def _lower_interface(self):
        self._set_resolvers(None)
        lower_interface()
        self._interface = False

    def _set_resolvers(self, servers):
        """The system's resolvers; none = those of the network."""
        with open("/etc/resolv.conf", "w", encoding="ascii") as file:
            file.writelines(f"nameserver {server}\n" for server in servers or [LAN_RESOLVER])

    async def until(self, state):
        """Waits for a state of the core."""
        end = time.monotonic() + SOON
        while self.status is None or self.status.state != state:
            if self._events.done():
                self._events.result()
                raise AssertionError("the session has ended")
            self._news.clear()
            try:
                async with asyncio.timeout(end - time.monotonic()):
                    await self._news.wait()
            except TimeoutError:
                raise AssertionError(f"it does not become {state}: {self.status}") from None

    async def connected(self, link=None):
        """Enrols where there is a link, and connects."""
        if link is not None:
            await self.session.enrol(parse_enrolment_link(link))
        await self.session.connect()
        await self.until(State.CONNECTED)
        return self

    def address(self):
        """The phone's IPv4 address in the tunnel."""
        return next(one.address for one in self.plan.interface.addresses if ":" not in one.address)

    async def close(self):
        """Ends the session and waits for the end of its events."""
        await self.session.close()
        if self._interface:
            self._lower_interface()
        async with asyncio.timeout(SOON):
            await self._events


def raise_interface(name, plan):
    """Gives the interface its addresses and routes, which every socket takes that is not protected."""
    for one in plan.interface.addresses:
        ip(f"addr add {one.address}/{one.prefix} dev {name}" + (" nodad" if ":" in one.address else ""))
    ip(f"link set {name} mtu {plan.interface.mtu} up")
    for route in plan.routes:
        family = "-6" if ":" in route.address else "-4"
        ip(f"{family} route add {route.address}/{route.prefix} dev {name} table {TABLE}")
    for family in ("-4", "-6"):
        ip(f"{family} rule add not fwmark {MARK} lookup {TABLE}")


def lower_interface():
    """Takes the rules away; routes and addresses go with the interface."""
    for family in ("-4", "-6"):
        ip(f"{family} rule del not fwmark {MARK} lookup {TABLE}")


class Pump:
    """Carries packets between a TUN device of the app's own and a flow, one thread each way."""

    def __init__(self, flow, plan):
        self._flow = flow
        self._device = open_tun("tun1")
        os.set_blocking(self._device, True)
        raise_interface("tun1", plan)
        self._stopped, self._wake = os.pipe()
        self._threads = [threading.Thread(target=work) for work in (self._outward, self._inward)]
        for thread in self._threads:
            thread.start()

    def _outward(self):
        while True:
            ready, _, _ = select.select([self._device, self._stopped], [], [])
            if self._stopped in ready:
                return
            packet = os.read(self._device, 65535)
            self._flow.send(*packets.batch([packet]))

    def _inward(self):
        while True:
            try:
                received = self._flow.receive_blocking(1000)
            except WeftError.Closed:
                return
            for packet in packets.split(received):
                os.write(self._device, packet)

    def stop(self):
        """Closes the flow and ends the threads."""
        self._flow.close()
        os.write(self._wake, b"x")
        for thread in self._threads:
            thread.join(SOON)
        lower_interface()
        for descriptor in (self._device, self._stopped, self._wake):
            os.close(descriptor)

