#!/usr/bin/env python3
# When one side resets its connection, at once or when all bytes have come, the other side must see an end in time, with
# a FIN or with a reset: else it keeps a connection that is over (RFC 9293, section 3.5.3). PROXY forwards to LISTEN.
import socket, struct, time
from array import array

COUNT = 20
@OPENING@
right, waiting = True, []
for i, (client, server) in enumerate(pairs):
    name, side, other = ("client", client, server) if i % 2 else ("server", server, client)
    at_once = i % 4 > 1
    came = b""
    try:
        side.sendall(STREAM[:40_000])
        other.sendall(STREAM[:40_000])
        while not at_once and len(came) < 40_000 and (data := side.recv(40_000 - len(came))):
            came += data
    except OSError as error:
        print("before the reset:", repr(error))
    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its close is a reset
    side.close()
    waiting.append((name, at_once, came, other))
until = time.monotonic() + PATIENCE
for i, (name, at_once, came, other) in enumerate(waiting):
    other.settimeout(max(0.1, until - time.monotonic()))
    _, end = receive(other)
    good = (at_once or came == STREAM[:40_000]) and "timed out" not in end and "right" not in end
    right = right and good
    print(f"connection {i}: the {name} received {len(came)} of 40000 bytes and reset its connection; the other",
          f"side got {end}: {'right' if good else 'WRONG'}")
raise SystemExit(not right)
