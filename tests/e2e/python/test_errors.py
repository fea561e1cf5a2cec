"""Every error crosses as an exception of its own type, and leaves neither a thread nor a descriptor behind."""

import asyncio
import os
import threading
import unittest

import packets
from phone import SOON, AppHost, Case, Phone, config, eventually, held, nothing_is_left_of, open_tun
from weft_ffi import Enrolment, HostError, ManagedConfig, Session, State, WeftError, parse_enrolment_link

LINKS = os.environ["WEFT_ERROR_LINKS"].split()
CA = "ab" * 32
# What enrolled once, for every session below that needs a registration.
ENROLLED = {}


def registered():
    """A host that has stored a registration."""
    return AppHost(ENROLLED["state"])


async def alone():
    """Waits until this is the only thread: one that has said its last word is still there for a moment."""
    await eventually(lambda: held()[0] == 1, lambda: f"{held()[0]} threads")


async def warm():
    """What a process keeps from its first session on, and the registration."""
    if not ENROLLED:
        host = AppHost()
        session = Session(config(), host)
        await session.enrol(parse_enrolment_link(LINKS[0]))
        await session.close()
        ENROLLED["state"] = host.secrets["state"]


class Counted(Case):
    """Counts threads and descriptors around each test."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        await warm()
        await alone()
        # The loop starts a thread for what blocks, and keeps it.
        await asyncio.to_thread(lambda: None)
        self.before = held()

    async def asyncTearDown(self):
        await nothing_is_left_of(self.before)

    async def refused(self, kind, call, *arguments):
        """Makes a call that must raise this exception, and gives its detail."""
        with self.assertRaises(kind) as caught:
            result = call(*arguments)
            if asyncio.iscoroutine(result):
                await result
        self.assertIsInstance(caught.exception, WeftError)
        self.assertTrue(caught.exception.detail)
        return caught.exception.detail

    async def with_interface_wanted(self):
        """A session whose plan asks for an interface, which nobody has attached."""
        session = Session(config(), registered())
        await session.connect()
        async with asyncio.timeout(SOON):
            while True:
                event = await session.next_event()
                if event.is_PLAN() and event.plan.interface is not None:
                    return session


class Links(Counted):
    async def test_a_link_that_is_none(self):
        for link in [
            "",
            "weft://",
            "http://gw/enrol#token=hunter2",
            "weft://enrol?token=hunter2",
            "weft://enrol?url=https://gw&token=hunter2&ca=5f1c",
            "weft://enrol?url=https://gw&token=hunter2&token=hunter2",
            "weft://enrol?token=" + "x" * 4000,
        ]:
            detail = await self.refused(WeftError.InvalidInput, parse_enrolment_link, link)
            self.assertNotIn("hunter2", detail)

    async def test_a_gateway_that_refuses_or_is_not_there(self):
        session = Session(config(), AppHost())
        good = parse_enrolment_link(LINKS[0])
        used = Enrolment(url=good.url, token="no-such-token", ca_fingerprint=good.ca_fingerprint, device_name=None)
        await self.refused(WeftError.Refused, session.enrol, used)
        other = Enrolment(url=good.url, token=good.token, ca_fingerprint=CA, device_name=None)
        await self.refused(WeftError.Refused, session.enrol, other)
        nobody = Enrolment(url="https://127.0.0.1:9", token="t", ca_fingerprint=CA, device_name=None)
        await self.refused(WeftError.Unreachable, session.enrol, nobody)
        await session.close()

    async def test_a_device_that_is_registered_already(self):
        session = Session(config(), registered())
        await self.refused(WeftError.AlreadyRegistered, session.enrol, parse_enrolment_link(LINKS[0]))
        await session.close()


class Order(Counted):
    async def test_a_device_that_is_not_registered(self):
        session = Session(config(), AppHost())
        for call in (session.connect, session.refresh_profile, session.leave):
            await self.refused(WeftError.NotRegistered, call)
        await session.close()

    async def test_what_the_administrator_forbids(self):
        managed = ManagedConfig(
            url=None, token=None, ca_fingerprint=None, service_mode=None, switch_locked=True, auto_connect=None,
            support_url=None, allowed_apps=[], disallowed_apps=[],
        )
        session = Session(config(managed=managed), registered())
        await session.connect()
        await self.refused(WeftError.Forbidden, session.disconnect)
        await session.close()

    async def test_calls_out_of_order(self):
        session = Session(config(), registered())
        await self.refused(WeftError.WrongOrder, session.attach_tun, open_tun("tun7"))
        await self.refused(WeftError.WrongOrder, session.dns_lookup, "web.example", "A")
        flow = session.packet_flow()
        await self.refused(WeftError.WrongOrder, session.packet_flow)
        flow.close()
        await session.close()

    async def test_what_cannot_be_meant(self):
        with self.assertRaises(WeftError.InvalidInput):
            Session(config(os="plan9"), AppHost())
        session = Session(config(), AppHost())
        await self.refused(WeftError.InvalidInput, session.explain_host, "a..b")
        await self.refused(WeftError.InvalidInput, session.explain_address, "1.2.3")
        # What does not even have the right type never reaches the core.
        for wrong in (None, "7", 1 << 40):
            with self.assertRaises((TypeError, ValueError)):
                session.attach_tun(wrong)
        await session.close()

    async def test_everything_after_close(self):
        session = Session(config(), registered())
        flow = session.packet_flow()
        await session.close()
        await session.close()
        self.assertIsNone(await session.next_event())
        for call in (session.connect, session.disconnect, session.leave, session.packet_flow, flow.receive):
            await self.refused(WeftError.Closed, call)
        await self.refused(WeftError.Closed, session.explain_host, "web.example")
        await self.refused(WeftError.Closed, session.attach_tun, open_tun("tun7"))
        await self.refused(WeftError.Closed, flow.send, b"\x45", [0, 1])
        await self.refused(WeftError.Closed, flow.receive_blocking, 1000)
        self.assertIsNone(await session.status())


class Descriptors(Counted):
    async def test_what_is_no_descriptor_is_closed_by_nobody(self):
        session = await self.with_interface_wanted()
        closed = os.open("/dev/null", os.O_RDONLY)
        os.close(closed)
        for descriptor in (-1, -(1 << 31), (1 << 31) - 1, closed):
            await self.refused(WeftError.BadDescriptor, session.attach_tun, descriptor)
        # Somebody else's by now, whom nobody closes.
        other = os.open("/dev/null", os.O_RDONLY)
        self.assertEqual(other, closed)
        os.close(other)
        await session.close()

    async def test_a_descriptor_of_something_else_is_closed_once(self):
        session = await self.with_interface_wanted()
        other = os.open("/dev/null", os.O_RDONLY)
        await self.refused(WeftError.BadDescriptor, session.attach_tun, other)
        with self.assertRaises(OSError):
            os.fstat(other)
        await session.close()


class Packets(Counted):
    async def test_a_bad_batch_is_refused_whole(self):
        session = Session(config(), registered())
        flow = session.packet_flow()
        for sent, offsets in [
            (b"", []),
            (b"\x45" * 3, []),
            (b"\x45" * 3, [0]),
            (b"\x45" * 3, [0, 0, 3]),
            (b"\x45" * 3, [1, 3]),
            (b"\x45" * 3, [0, 2]),
            (b"\x45" * 3, [0, 4]),
            (b"\x45" * 3, [0, 3, 2, 3]),
            (b"\x45" * 70_000, [0, 70_000]),
        ]:
            await self.refused(WeftError.BadPacket, flow.send, sent, offsets)
        self.assertEqual(flow.send(b"", [0]), 0)
        self.assertEqual(flow.send(*packets.batch([b"\x45" * 20] * 2)), 2)
        with self.assertRaises(TypeError):
            flow.send("text", [0, 4])
        with self.assertRaises(ValueError):
            flow.send(b"\x45", [0, 1 << 32])
        await session.close()

    async def test_whoever_waits_hears_of_the_end(self):
        session = Session(config(), registered())
        flow = session.packet_flow()
        blocking = asyncio.to_thread(flow.receive_blocking, 60_000)
        waits = [asyncio.create_task(flow.receive()), asyncio.create_task(blocking)]
        flow.close()
        for wait in waits:
            with self.assertRaises(WeftError.Closed):
                async with asyncio.timeout(SOON):
                    await wait
        await session.close()


class Hosts(Counted):
    async def test_a_host_that_raises(self):
        for manner, said in [(HostError.Failed("locked"), "locked"), (KeyError("keys"), "keys")]:
            host = registered()
            host.manners["load_secret"] = manner
            detail = await self.refused(WeftError.Host, Session, config(), host)
            self.assertIn("load_secret", detail)
            self.assertIn(said, detail)

    async def test_a_host_that_fails_to_store_is_not_registered(self):
        host = AppHost()
        host.manners["store_secret"] = HostError.Failed("full")
        session = Session(config(), host)
        detail = await self.refused(WeftError.Host, session.enrol, parse_enrolment_link(LINKS[1]))
        self.assertIn("full", detail)
        self.assertIsNone(await session.registration())
        await session.close()

    async def test_a_host_that_raises_at_the_rest_does_not_keep_the_device_from_connecting(self):
        host = registered()
        host.manners["network"] = RuntimeError("no network manager")
        app = Phone(host, with_flow=True)
        await app.connected()
        await app.close()

    async def test_a_host_that_never_returns(self):
        host, released = registered(), threading.Event()
        host.manners["load_secret"] = released
        begun = asyncio.to_thread(Session, config(), host)
        detail = await self.refused(WeftError.Host, lambda: begun)
        self.assertIn("has not returned", detail)
        released.set()


class Cancelled(Counted):
    async def test_an_enrolment_goes_on_where_its_caller_goes_away(self):
        host, released = AppHost(), threading.Event()
        host.manners["store_secret"] = released
        session = Session(config(), host)
        enrolling = asyncio.create_task(session.enrol(parse_enrolment_link(LINKS[2])))
        await eventually(lambda: "store_secret" in host.calls, lambda: f"the host heard {host.calls}")
        enrolling.cancel()
        await asyncio.gather(enrolling, return_exceptions=True)
        await self.refused(WeftError.WrongOrder, session.leave)
        released.set()

        async def connects():
            try:
                await session.connect()
            except WeftError.NotRegistered:
                return False
            return True

        # The core hears of it, not the store alone.
        await eventually(connects, lambda: "the core knows of no registration")
        await session.close()


class Sessions(Counted):
    async def test_two_know_nothing_of_each_other(self):
        one, two = Phone(registered(), with_flow=True), Phone(registered(), with_flow=True)
        await one.connected()
        self.assertEqual((await two.session.status()).state, State.DISCONNECTED)
        await one.close()
        self.assertEqual(two.flow.send(b"\x45", [0, 1]), 1)
        await two.connected()
        await two.close()

    async def test_close_during_connect(self):
        for _ in range(10):
            session = Session(config(), registered())
            flow = session.packet_flow()
            work = session.connect(), flow.receive(), session.close(), session.close()
            async with asyncio.timeout(SOON):
                connected, received, *closed = await asyncio.gather(*work, return_exceptions=True)
            self.assertIn(type(connected), (type(None), WeftError.Closed), connected)
            self.assertEqual((type(received), closed), (WeftError.Closed, [None, None]), received)
            del session, flow, work

    async def test_sessions_that_are_only_dropped(self):
        for _ in range(10):
            session = Session(config(), registered())
            flow = session.packet_flow()
            await session.connect()
            del session, flow


if __name__ == "__main__":
    unittest.main()
