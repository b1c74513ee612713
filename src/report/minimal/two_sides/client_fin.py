#!/usr/bin/env python3
# A client that ends its direction first must still get what the server sends, here for 2 s and then much at once, and
# the server must learn of that end before it ends its own: a half-closed connection goes on in the other direction
# (RFC 9293, section 3.6). PROXY forwards to LISTEN.
import socket, threading, time
from array import array

COUNT = 1
@OPENING@
@SEND@
client, server = pairs[0]
fin_came = threading.Event()
threading.Thread(target=send, args=(server, 8000, 0.02, fin_came), daemon=True).start()
send(client, 1)
came = receive(server)
fin_came.set()  # the server does not end before
in_time = came == (1000, "a FIN")
print(f"the client sent 1000 bytes and a FIN; the server received {came[0]} bytes and then {came[1]}:",
      "right" if in_time else "WRONG")
then = receive(client)
whole = then == (8_000_000, "a FIN")
print(f"the server sent 8000000 bytes and a FIN; the client received {then[0]} bytes and then {then[1]}:",
      "right" if whole else "WRONG")
raise SystemExit(not (in_time and whole))
