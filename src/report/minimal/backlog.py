#!/usr/bin/env python3
# A client that sends all of its data and its FIN, and is slow to read, must still get every byte before the FIN: an end
# must not overtake data that waits to be sent. TARGET is a proxy or a tunnel before any echo server, for example:
# socat TCP-LISTEN:7777,fork,reuseaddr EXEC:cat
import socket, threading, time

TARGET, PATIENCE, SENT = (@HOST@, @PORT@), @PATIENCE@, 6_000_000
s = socket.create_connection(TARGET, timeout=PATIENCE + 3)

def send():
    try:
        for _ in range(SENT // 1000):
            s.sendall(bytes(1000))
        s.shutdown(socket.SHUT_WR)
    except OSError as error:
        print("send:", repr(error))

threading.Thread(target=send, daemon=True).start()
time.sleep(2)
received, end = 0, "a FIN"
try:
    while data := s.recv(65536):
        received += len(data)
except OSError as error:
    end = repr(error)
right = received == SENT and end == "a FIN"
print(f"sent {SENT} bytes and a FIN, read 2 s later: {received} bytes and then {end}: {'right' if right else 'WRONG'}")
raise SystemExit(not right)
