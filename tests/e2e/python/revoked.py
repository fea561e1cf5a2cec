"""A phone whose administrator lets nobody leave, revoked twice: it joins again, and then leaves."""

import asyncio
import contextlib
import os

from phone import Phone, eventually
from weft_ffi import State, WeftError, parse_enrolment_link

LINKS = os.environ["WEFT_LINKS"].split()


async def revoked(app, turn):
    """Says as whom it is connected, and waits until the gateway has revoked that."""
    await app.until(State.CONNECTED)
    print(turn, (await app.session.registration()).id)

    async def is_blocked():
        with contextlib.suppress(WeftError.NotRegistered):
            await app.session.refresh_profile()
        return app.status.state == State.UNABLE

    await eventually(is_blocked, lambda: app.status)


async def main():
    """As its name says."""
    app = Phone(with_flow=True)
    await app.session.enrol(parse_enrolment_link(LINKS[0]))
    for call in (app.session.leave(), app.session.enrol(parse_enrolment_link(LINKS[1]))):
        try:
            await call
        except (WeftError.Forbidden, WeftError.AlreadyRegistered):
            continue
        raise AssertionError("it left a gateway that lets nobody leave")
    await app.session.connect()
    await revoked(app, "first")
    # The device is held back until it is set up again, and connects by itself then.
    await app.session.enrol(parse_enrolment_link(LINKS[1]))
    await revoked(app, "second")
    await app.session.leave()
    await app.until(State.DISCONNECTED)
    assert await app.session.registration() is None
    await app.close()
    print("gone")


asyncio.run(main())
