"""Echo with AnyIO on asyncio."""

import sys

import anyio


async def echo(stream):
    async with stream:
        try:
            async for data in stream:
                await stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


async def main():
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=int(sys.argv[1]))
    await listener.serve(echo)


anyio.run(main)
