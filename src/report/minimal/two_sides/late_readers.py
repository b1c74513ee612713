#!/usr/bin/env python3
# One side sends, and its FIN behind its last byte. The other side reads, at once or after 2 s: it must get all bytes
# and then the FIN. It never ends its own direction, so no end may come back (RFC 9293, section 3.6). PROXY forwards to
# LISTEN.
import select, socket, threading, time
from array import array

COUNT = 4
@OPENING@
@SEND@
right = True
for (client, server), way, pause in zip(pairs, ("up", "up", "down", "down"), (0, 2, 0, 2)):
    sender, reader = (client, server) if way == "up" else (server, client)
    threading.Thread(target=send, args=(sender, 16_000), daemon=True).start()
    time.sleep(min(pause, PATIENCE / 2))
    received, end = receive(reader)
    time.sleep(0.1)  # an end that comes back may take some time
    is_early = bool(select.select([sender], [], [], 0)[0])
    good = received == 16_000_000 and end == "a FIN" and not is_early
    right = right and good
    print(f"{way}: sent 16000000 bytes and a FIN; after {pause} s, received {received} and then {end};",
          f"{'an early' if is_early else 'no'} end came back: {'right' if good else 'WRONG'}")
raise SystemExit(not right)
