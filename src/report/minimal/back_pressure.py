#!/usr/bin/env python3
# A client that writes until its writes block, and then reads, must get everything back: a program that can't write must
# still read, or wait for both. TARGET is a proxy or a tunnel before any echo server, for example:
# socat TCP-LISTEN:7777,fork,reuseaddr EXEC:cat
import socket, threading, time

TARGET, PATIENCE, SENT = (@HOST@, @PORT@), @PATIENCE@, 64_000_000
try:
    s = socket.create_connection(TARGET, timeout=PATIENCE)
except OSError as error:
    print(f"cannot connect to {TARGET}: {error!r}")
    raise SystemExit(2)
taken, received, end = 0, 0, "no end"

def send():
    global taken
    while taken < SENT:
        try:
            taken += s.send(bytes(min(65536, SENT - taken)))
        except socket.timeout:
            pass
        except OSError as error:
            return print("send:", repr(error))

threading.Thread(target=send, daemon=True).start()
before = -1
while before < taken:
    before = taken
    time.sleep(1)
print(f"{taken} bytes were taken before anything was read")
try:
    while received < SENT and (data := s.recv(1 << 20)):
        received += len(data)
except OSError as error:
    end = repr(error)
print(f"{taken} bytes sent, {received} received, {end}: {'right' if received == SENT else 'WRONG'}")
raise SystemExit(received != SENT)
