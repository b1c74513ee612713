#!/usr/bin/env python3
# While one side does not read, so that the way to it is full, what that side sends must still come through: each
# direction has a window of its own (RFC 9293, section 3.8.6). PROXY forwards to LISTEN.
import socket, threading, time
from array import array

COUNT = 2
@OPENING@
@SEND@
def fill(s):
    try:
        for _ in range(8):
            s.sendall(STREAM)
    except OSError:
        pass  # the way is full, as it should be

right = True
for (client, server), deaf in zip(pairs, ("server", "client")):
    other, silent, reader = ("client", server, client) if deaf == "server" else ("server", client, server)
    threading.Thread(target=fill, args=(reader,), daemon=True).start()
    time.sleep(min(1, PATIENCE / 2))  # until the way is full
    threading.Thread(target=send, args=(silent, 1000), daemon=True).start()
    received, end = receive(reader)
    good = received == 1_000_000 and "right" not in end  # how it ends is another matter
    right = right and good
    print(f"the {deaf} does not read; of the 1000000 bytes that it sent, the {other} received {received}, and",
          f"then {end}: {'right' if good else 'WRONG'}")
raise SystemExit(not right)
