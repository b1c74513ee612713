"""Echo with Twisted, as in its documentation; the second argument 'producer' adds flow control."""

import sys

from twisted.internet import protocol, reactor


class Echo(protocol.Protocol):
    def connectionMade(self):
        if sys.argv[2:] == ["producer"]:
            self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data):
        self.transport.write(data)


factory = protocol.ServerFactory()
factory.protocol = Echo
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
reactor.run()
