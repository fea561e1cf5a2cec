"""Sends packets and takes their echoes until so many have come back, and shows what memory that took."""

import asyncio
import gc
import os
import sys
import time

import packets
from phone import Phone

PACKETS = int(os.environ["WEFT_PACKETS"])
# When the process has all that it will need.
WARM = PACKETS // 10
# Packets of one call; two batches are under way at a time, a quarter of the queue.
BATCH = 128
# What the process may grow by from WARM to PACKETS, in KiB: less than three bytes for each of a million packets.
GROWTH = 2048
# How long an echo is waited for before it counts as lost.
LOST_AFTER_MS = 2000


def memory():
    """The process's own memory in KiB."""
    gc.collect()
    with open("/proc/self/status", encoding="ascii") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["RssAnon"].split()[0])


def carry(flow, own, until, counts):
    """Sends and receives until so many echoes have come in all."""
    to = os.environ["WEFT_ECHO"]
    sent, offsets = packets.batch([packets.echo(own, to, number, bytes(32)) for number in range(BATCH)])
    size, reply = len(sent) // BATCH, bytes([packets.ECHO_REPLY])
    under_way = 0
    while counts["back"] < until:
        while under_way <= BATCH:
            taken = flow.send(sent, offsets)
            counts["sent"] += taken
            under_way += taken
        received = flow.receive_blocking(LOST_AFTER_MS)
        came = max(len(received.offsets) - 1, 0)
        if came == 0:
            counts["lost"] += under_way
            under_way = 0
            continue
        if len(received.packets) != came * size or received.packets[20::size] != reply * came:
            raise AssertionError("something else than echoes came back")
        counts["back"] += came
        under_way -= came


async def main():
    """Connects, carries, and fails where memory grew."""
    app = Phone(with_flow=True)
    await app.connected(os.environ["WEFT_LINKS"].split()[0])
    # What the core itself sent until it was connected.
    before, counts = (await app.session.stats()).tunnel, {"sent": 0, "back": 0, "lost": 0}
    await asyncio.to_thread(carry, app.flow, app.address(), WARM, counts)
    warm, begun, first = memory(), time.monotonic(), counts["back"]
    await asyncio.to_thread(carry, app.flow, app.address(), PACKETS, counts)
    seconds, grown = time.monotonic() - begun, memory() - warm
    after = (await app.session.stats()).tunnel
    through = (after.sent.packets - before.sent.packets, after.received.packets - before.received.packets)
    await app.close()
    rate = (counts["back"] - first) / seconds
    print(f"{counts['sent']} packets in, {counts['back']} out, {counts['lost']} lost, {rate:.0f}/s each way")
    print(f"through the tunnel: {through[0]} sent, {through[1]} received")
    print(f"memory: {warm} KiB after {WARM}, {warm + grown} KiB after {PACKETS}: {grown:+} KiB")
    if through[0] < PACKETS or through[1] < PACKETS:
        sys.exit("the tunnel did not carry them")
    if grown > GROWTH:
        sys.exit(f"memory grew by {grown} KiB")


if __name__ == "__main__":
    asyncio.run(main())
