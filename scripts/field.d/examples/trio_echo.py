"""Echo with Trio, as in its tutorial."""

import sys

import trio


async def echo(stream):
    try:
        async for data in stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass


trio.run(trio.serve_tcp, echo, int(sys.argv[1]))
