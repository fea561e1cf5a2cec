"""Sends echoes over the boundary for a while; prints how many came back, the seconds, those of the processor, and memory."""

import asyncio
import os
import resource
import time

import packets
from phone import AppHost, Phone

# Packets of one call; two batches are under way at a time.
BATCH = 128


def carry(flow, batch, seconds):
    """The echoes that came back within the time."""
    back = under_way = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        while under_way <= BATCH:
            under_way += flow.send(*batch)
        came = max(len(flow.receive_blocking(1000).offsets) - 1, 0)
        back += came
        under_way = under_way - came if came else 0
    return back


async def main():
    """Connects with the registration that was left, and carries."""
    with open(os.environ["WEFT_STATE"], "rb") as state:
        app = Phone(AppHost(state.read()), with_flow=True)
    await app.connected()
    payload = bytes(int(os.environ["WEFT_SIZE"]) - 28)
    own, to = app.address(), os.environ["WEFT_ECHO"]
    batch = packets.batch([packets.echo(own, to, number, payload) for number in range(BATCH)])
    begun, processor = time.monotonic(), time.process_time()
    back = await asyncio.to_thread(carry, app.flow, batch, int(os.environ["WEFT_SECONDS"]))
    spent = time.process_time() - processor
    seconds = time.monotonic() - begun
    print(back, seconds, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    await app.close()


if __name__ == "__main__":
    asyncio.run(main())
