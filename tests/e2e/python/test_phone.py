"""What a phone does with the real gateway: by a descriptor, and by packets."""

import asyncio
import os
import socket
import unittest
import urllib.request

import packets
from phone import SOON, AppHost, Case, Phone, Pump
from weft_ffi import State, parse_enrolment_link

LINKS = os.environ["WEFT_LINKS"].split()
GATEWAY, DEVICE = os.environ["WEFT_GATEWAY"], os.environ["WEFT_DEVICE"]
GATEWAY_V6, DEVICE_V6 = os.environ["WEFT_GATEWAY_V6"], os.environ["WEFT_DEVICE_V6"]
WEB, LAN, UPLINK = os.environ["WEFT_WEB"], os.environ["WEFT_LAN"], os.environ["WEFT_UPLINK"]


def page(url):
    """What a web server says of who asks."""
    with urllib.request.urlopen(url, timeout=SOON) as answer:
        return answer.read().decode()


def lookup(server, name):
    """Asks a resolver by UDP."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(SOON)
        asking.sendto(packets.query(name, 7), (server, 53))
        return packets.addresses(asking.recv(4096))


class ByDescriptor(Case):
    """The core reads and writes the interface itself."""

    async def test_pages_and_names_go_where_the_profile_says(self):
        app = Phone()
        self.addAsyncCleanup(app.close)
        await app.connected(LINKS[0])
        self.assertIsNotNone(await app.session.registration())
        sentinel = app.plan.dns.servers[0]
        for url, sources in [
            (f"http://{WEB}/", [GATEWAY]),
            ("http://web.example/", [GATEWAY, GATEWAY_V6]),
            ("http://intranet.corp/", [DEVICE, DEVICE_V6]),
        ]:
            told = await asyncio.to_thread(page, url)
            self.assertIn(told, [f"you are {source}\n" for source in sources], url)
        self.assertEqual(await asyncio.to_thread(lookup, sentinel, "web.example"), (0, [WEB]))
        self.assertEqual(await asyncio.to_thread(lookup, sentinel, "intranet.corp"), (0, [LAN]))
        refused = await asyncio.to_thread(lookup, sentinel, "blocked.example")
        self.assertEqual(refused[1], [])
        stats = await app.session.stats()
        self.assertGreater(stats.tunnel.sent.packets, 0)
        self.assertGreater(stats.dns.fallback, 0)
        self.assertIn("protect", app.host.calls)
        await app.session.disconnect()
        await app.until(State.DISCONNECTED)
        self.assertIn(UPLINK, await asyncio.to_thread(page, f"http://{WEB}/"))

    async def test_a_process_that_starts_again_needs_no_link(self):
        first = Phone()
        await first.session.enrol(parse_enrolment_link(LINKS[1]))
        state = first.host.secrets["state"]
        known = await first.session.registration()
        await first.close()
        second = Phone(AppHost(state))
        self.addAsyncCleanup(second.close)
        self.assertEqual(await second.session.registration(), known)
        await second.connected()
        self.assertIn(GATEWAY, await asyncio.to_thread(page, f"http://{WEB}/"))
        await second.session.leave()
        await second.until(State.DISCONNECTED)
        self.assertNotIn("state", second.host.secrets)
        self.assertIsNone(await second.session.registration())


class ByPackets(Case):
    """The app owns the packets."""

    async def answer(self, app, sent, wanted):
        """Sends a packet until one comes back that is wanted: the way may lose one."""
        async with asyncio.timeout(SOON):
            while True:
                self.assertEqual(app.flow.send(*packets.batch([sent])), 1)
                try:
                    async with asyncio.timeout(5):
                        received = await app.flow.receive()
                except TimeoutError:
                    continue
                for packet in packets.split(received):
                    if wanted(packet):
                        return packet

    async def test_queries_and_echoes_are_answered(self):
        app = Phone(with_flow=True)
        self.addAsyncCleanup(app.close)
        await app.connected(LINKS[2])
        own, sentinel = app.address(), app.plan.dns.servers[0]
        for name, found in [("web.example", WEB), ("intranet.corp", LAN)]:
            sent = packets.udp(own, sentinel, (40000, 53), packets.query(name, 9))
            answer = await self.answer(app, sent, lambda packet: packet[9] == packets.UDP)
            self.assertEqual(packets.addresses(answer[28:]), (0, [found]), name)
        sent = packets.echo(own, WEB, 5, b"through the tunnel")
        reply = await self.answer(app, sent, lambda packet: packet[9] == packets.ICMP)
        self.assertEqual(reply[20], packets.ECHO_REPLY)
        self.assertEqual((reply[12:16], reply[28:]), (socket.inet_aton(WEB), b"through the tunnel"))

    async def test_a_page_comes_by_a_device_of_the_apps_own(self):
        app = Phone(with_flow=True)
        self.addAsyncCleanup(app.close)
        await app.connected(LINKS[3])
        pump = Pump(app.flow, app.plan)
        self.addCleanup(pump.stop)
        self.assertIn(GATEWAY, await asyncio.to_thread(page, f"http://{WEB}/"))
        sentinel = app.plan.dns.servers[0]
        self.assertEqual(await asyncio.to_thread(lookup, sentinel, "intranet.corp"), (0, [LAN]))


if __name__ == "__main__":
    unittest.main()
