#!/usr/bin/env python3
# A client that sends all of its data and then its FIN must still get the whole answer, and then a FIN: a half-closed
# connection goes on in the other direction (RFC 9293, section 3.6). TARGET is a proxy or a tunnel before any echo
# server, for example: socat TCP-LISTEN:7777,fork,reuseaddr EXEC:cat
import socket, threading

TARGET, PATIENCE, SENT = (@HOST@, @PORT@), @PATIENCE@, 1_000_000
try:
    s = socket.create_connection(TARGET, timeout=PATIENCE)
except OSError as error:
    print(f"cannot connect to {TARGET}: {error!r}")
    raise SystemExit(2)

def send():
    try:
        for _ in range(SENT // 1000):
            s.sendall(bytes(1000))
        s.shutdown(socket.SHUT_WR)
    except OSError as error:
        print("send:", repr(error))

threading.Thread(target=send, daemon=True).start()
received, end = 0, "a FIN"
try:
    while data := s.recv(65536):
        received += len(data)
except OSError as error:
    end = repr(error)
right = received == SENT and end == "a FIN"
print(f"sent {SENT} bytes and a FIN; received {received} bytes and then {end}: {'right' if right else 'WRONG'}")
raise SystemExit(not right)
