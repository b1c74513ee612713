#!/usr/bin/env python3
# Every byte must come back, in its order and with its value. TARGET is a proxy or a tunnel before any echo server, for
# example: socat TCP-LISTEN:7777,fork,reuseaddr EXEC:cat
import array, random, socket, threading

TARGET, PATIENCE = (@HOST@, @PORT@), @PATIENCE@
sent = array.array("I", range(4_000_000)).tobytes()
try:
    s = socket.create_connection(TARGET, timeout=PATIENCE)
except OSError as error:
    print(f"cannot connect to {TARGET}: {error!r}")
    raise SystemExit(2)

def send():
    at = 0
    try:
        while at < len(sent):
            at += s.send(sent[at:at + random.randint(1, 20000)])
    except OSError as error:
        print("send:", repr(error))

threading.Thread(target=send, daemon=True).start()
received, end = bytearray(), "no end"
try:
    while len(received) < len(sent) and (data := s.recv(65536)):
        received += data
except OSError as error:
    end = repr(error)
wrong = next((i for i in range(len(sent)) if received[i:i + 1] != sent[i:i + 1]), None)
print(f"sent {len(sent)} bytes, received {len(received)}, {end}; "
      + ("right" if wrong is None else f"the first WRONG one is byte {wrong}"))
raise SystemExit(wrong is not None)
