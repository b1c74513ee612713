#!/usr/bin/env python3
# A client that has got its whole answer and then sends its FIN must see the connection end with a FIN, not with a reset:
# a reset may destroy data that is still on its way. TARGET is a proxy or a tunnel before any echo server, for example:
# socat TCP-LISTEN:7777,fork,reuseaddr EXEC:cat
import socket

TARGET, PATIENCE, SENT = (@HOST@, @PORT@), @PATIENCE@, 1000
try:
    s = socket.create_connection(TARGET, timeout=PATIENCE)
except OSError as error:
    print(f"cannot connect to {TARGET}: {error!r}")
    raise SystemExit(2)
s.sendall(bytes(SENT))
received, end = 0, "a FIN"
try:
    while received < SENT and (data := s.recv(65536)):
        received += len(data)
    s.shutdown(socket.SHUT_WR)
    while data := s.recv(65536):
        received += len(data)
except OSError as error:
    end = repr(error)
right = received == SENT and end == "a FIN"
print(f"sent {SENT} bytes, received {received}, sent a FIN, and got {end}: {'right' if right else 'WRONG'}")
raise SystemExit(not right)
