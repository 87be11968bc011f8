"""HTTP/1.1 as the simulator speaks it: aiohttp's server, without its application on top."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tidings.simulator.simulator import Simulator
from tidings.simulator.wire import Request

_MOST_BODY = 32 * 1_048_576  # bytes of a request


def http1(simulator: Simulator) -> web.Server:
    """What makes a protocol for each connection."""

    async def handle(asked: web.BaseRequest) -> web.StreamResponse:
        if (asked.content_length or 0) > _MOST_BODY:
            return web.Response(status=413)
        headers = {name.lower(): value for name, value in asked.headers.items()}
        request = Request(asked.method, asked.path_qs, headers, await asked.read(), "1.1")
        deed = simulator.take(request)
        if deed.delay:
            await asyncio.sleep(deed.delay / 1000)
        if deed.reset and asked.transport is not None:
            asked.transport.abort()
        if deed.reply is None:
            await asyncio.Event().wait()  # until the client has gone, which cancels this
            raise AssertionError("never set")
        answer = web.Response(status=deed.reply.status, body=deed.reply.body)
        answer.headers.update(deed.reply.headers)
        return answer

    return web.Server(handle, access_log=None, handler_cancellation=True)
