#!/usr/bin/env python3
# When one side resets its connection, the other side must see an end in time, with a FIN or with a reset: else it keeps
# a connection that is over (RFC 9293, section 3.5.3). PROXY forwards to LISTEN.
import socket, struct

COUNT = 2
@OPENING@
right = True
for (client, server), name in zip(pairs, ("server", "client")):
    server.sendall(b"!")
    try:
        came = client.recv(1)
    except OSError as error:
        came = error
    side, other = (server, client) if name == "server" else (client, server)
    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its close is a reset
    side.close()
    received, end = receive(other)
    good = came == b"!" and "timed out" not in end
    right = right and good
    print(f"the server received b'!' and the client {came!r}; then the {name} reset its connection,",
          f"and the other side got {end}: {'right' if good else 'WRONG'}")
raise SystemExit(not right)
