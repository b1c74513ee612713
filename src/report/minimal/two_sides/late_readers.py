#!/usr/bin/env python3
# One side sends, and its FIN behind its last byte. The other side reads later: it must get everything and then the FIN.
# It never ends its own direction, so no end may come back (RFC 9293, section 3.6). PROXY forwards to LISTEN.
import select, socket, threading, time

COUNT = 4
@OPENING@
@SEND@
right = True
for (client, server), way, size in zip(pairs, ("up", "up", "down", "down"), (300, 16_000, 300, 16_000)):
    sender, reader = (client, server) if way == "up" else (server, client)
    threading.Thread(target=send, args=(sender, size), daemon=True).start()
    time.sleep(min(2, PATIENCE / 2))
    received, end = receive(reader)
    time.sleep(0.2)  # an end that comes back needs some time for its way
    is_early = bool(select.select([sender], [], [], 0)[0])
    good = received == size * 1000 and end == "a FIN" and not is_early
    right = right and good
    print(f"{way}: sent {size}000 bytes and a FIN; received {received} and then {end};",
          f"{'an early' if is_early else 'no'} end came back: {'right' if good else 'WRONG'}")
raise SystemExit(not right)
