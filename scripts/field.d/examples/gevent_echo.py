"""Echo with gevent's StreamServer."""

import sys

from gevent.server import StreamServer


def echo(socket, address):
    try:
        while data := socket.recv(65536):
            socket.sendall(data)
    except OSError:
        pass


StreamServer(("127.0.0.1", int(sys.argv[1])), echo).serve_forever()
