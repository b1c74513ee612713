#!/usr/bin/env python3
# A client that sends all of its data and its FIN, and is slow to read, must still get every byte before the FIN: an end
# must not overtake data that waits to be sent. TARGET is any echo server, or a proxy before one.
import socket, threading, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

TARGET, PATIENCE = (@HOST@, @PORT@), @PATIENCE@

def try_with(size):
    family, kind, protocol, _, address = socket.getaddrinfo(*TARGET, type=socket.SOCK_STREAM)[0]
    s = socket.socket(family, kind, protocol)
    s.settimeout(PATIENCE + 4)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # so that much waits to be sent
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
    s.connect(address)

    def send():
        with suppress(OSError):  # what comes back will tell
            s.sendall(bytes(size))
            s.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    time.sleep(3)
    received, end = 0, "a FIN"
    try:
        while data := s.recv(65536):
            received += len(data)
    except OSError as error:
        end = repr(error)
    right = received == size and end == "a FIN"
    if not right:
        print(f"sent {size} bytes and a FIN, read 3 s later: {received} bytes and then {end}: WRONG")
    return right

# How much the sockets hold is up to the system. With one of these, the end lies in the server's own buffer.
SIZES = [*range(50_000, 1_700_000, 50_000), 6_000_000]
try:
    with ThreadPoolExecutor(len(SIZES)) as pool:
        right = sum(pool.map(try_with, SIZES))
    print(f"{right} of {len(SIZES)} sizes: {'right' if right == len(SIZES) else 'WRONG'}")
    raise SystemExit(right < len(SIZES))
except OSError as error:
    print(f"cannot connect to {TARGET}: {error!r}")
    raise SystemExit(2)
