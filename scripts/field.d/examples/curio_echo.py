"""Echo with Curio, as in its documentation."""

import sys

from curio import run, tcp_server


async def echo(client, address):
    try:
        while data := await client.recv(65536):
            await client.sendall(data)
    except ConnectionError:
        pass


run(tcp_server, "127.0.0.1", int(sys.argv[1]), echo)
