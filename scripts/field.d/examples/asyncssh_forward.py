"""A server and a client of asyncssh; the client forwards the first port through the server to the third."""

import asyncio
import sys

import asyncssh


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False

    def connection_requested(self, dest_host, dest_port, orig_host, orig_port):
        return True


async def main():
    port, server_port, backend = map(int, sys.argv[1:])
    key = asyncssh.generate_private_key("ssh-ed25519")
    await asyncssh.listen("127.0.0.1", server_port, server_factory=Server, server_host_keys=[key])
    async with asyncssh.connect("127.0.0.1", server_port, known_hosts=None, username="echo", config=None) as client:
        listener = await client.forward_local_port("127.0.0.1", port, "127.0.0.1", backend)
        await listener.wait_closed()


asyncio.run(main())
