#!/usr/bin/env python3
# Both sides send at once, and each sends its FIN behind its last byte: both must get everything and then a FIN,
# whichever side ends first (RFC 9293, section 3.6). On every second connection the server sends twice as much as the
# client. PROXY forwards to LISTEN.
import socket, threading, time
from array import array
from concurrent.futures import ThreadPoolExecutor

COUNT = 20
@OPENING@
@SEND@
pool = ThreadPoolExecutor(4)
for i, (client, server) in enumerate(pairs):
    up, down = 1000, 1000 * (1 + i % 2)
    pool.submit(send, client, up), pool.submit(send, server, down)
    at_server, at_client = [side.result() for side in (pool.submit(receive, server), pool.submit(receive, client))]
    right = at_server == (up * 1000, "a FIN") and at_client == (down * 1000, "a FIN")
    print(f"connection {i}: the server received {at_server[0]} of {up}000 bytes and then {at_server[1]}, the client",
          f"{at_client[0]} of {down}000 and then {at_client[1]}: {'right' if right else 'WRONG'}")
    if not right:
        raise SystemExit(1)
