#!/usr/bin/env python3
# When one side resets its connection, the other side must see an end in time, with a FIN or with a reset: else it keeps
# a connection that is over (RFC 9293, section 3.5.3). PROXY forwards to LISTEN.
import socket, struct, time

COUNT = 20
@OPENING@
right, waiting = True, []
for i, (client, server) in enumerate(pairs):
    name, side, other = ("client", client, server) if i % 2 else ("server", server, client)
    left = 40_000
    try:
        side.sendall(bytes(40_000))
        other.sendall(bytes(40_000))
        while left and (data := side.recv(left)):
            left -= len(data)
    except OSError as error:
        print("before the reset:", repr(error))
    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its close is a reset
    side.close()
    waiting.append((name, left, other))
until = time.monotonic() + PATIENCE
for i, (name, left, other) in enumerate(waiting):
    other.settimeout(max(0.1, until - time.monotonic()))
    _, end = receive(other)
    good = left == 0 and "timed out" not in end
    right = right and good
    print(f"connection {i}: the {name} received {40_000 - left} of 40000 bytes and reset its connection; the other",
          f"side got {end}: {'right' if good else 'WRONG'}")
raise SystemExit(not right)
