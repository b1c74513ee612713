#!/usr/bin/env python3
# A server that speaks first, as in SMTP, FTP and SSH, must be heard by a client that waits for it: a proxy that connects
# only when the client's first bytes have come keeps both waiting for ever. PROXY forwards to LISTEN.
import socket, threading

PROXY, LISTEN, PATIENCE = (@HOST@, @PORT@), (@LISTEN_HOST@, @LISTEN_PORT@), @PATIENCE@
GREETING, greeted = b"220 the server speaks first\r\n", []

def serve():
    while True:  # a health check is greeted too
        server = listener.accept()[0]
        server.sendall(GREETING)
        greeted.append(server)

def heard():
    try:
        return client.recv(100)
    except OSError as error:
        return error

try:
    listener = socket.create_server(LISTEN, family=socket.AF_INET6 if ":" in LISTEN[0] else socket.AF_INET)
    threading.Thread(target=serve, daemon=True).start()
    client = socket.create_connection(PROXY, timeout=PATIENCE)
    first = heard()
    if first != GREETING:
        client.sendall(b"!")
        then = heard()
except OSError as error:
    print(f"cannot connect through {PROXY} to {LISTEN}: {error!r}")
    raise SystemExit(2)
if first != GREETING and not greeted:
    print(f"cannot connect through {PROXY} to {LISTEN}: no connection came, even when the client had sent a byte")
    raise SystemExit(2)
print(f"the client sent nothing and received {first!r}:", "right" if first == GREETING else "WRONG")
if first != GREETING:
    print(f"then it sent a byte and received {then!r}")
raise SystemExit(first != GREETING)
