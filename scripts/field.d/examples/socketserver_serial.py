"""Echo from Python's socketserver as in its documentation: one connection after the other."""

import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        try:
            while data := self.request.recv(65536):
                self.request.sendall(data)
        except ConnectionError:
            pass


socketserver.TCPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
