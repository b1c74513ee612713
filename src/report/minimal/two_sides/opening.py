PROXY, LISTEN, PATIENCE = (@HOST@, @PORT@), (@LISTEN_HOST@, @LISTEN_PORT@), @PATIENCE@

def connection():
    client = socket.create_connection(PROXY, timeout=PATIENCE)
    client.sendall(b"!")  # some proxies connect only when bytes have come
    while True:  # a connection that brings no byte is a health check
        server = listener.accept()[0]
        server.settimeout(PATIENCE)
        if server.recv(1):
            return client, server

def receive(s):
    received = 0
    try:
        while data := s.recv(65536):
            received += len(data)
        return received, "a FIN"
    except OSError as error:
        return received, repr(error)

try:
    listener = socket.create_server(LISTEN, family=socket.AF_INET6 if ":" in LISTEN[0] else socket.AF_INET)
    listener.settimeout(PATIENCE)
    pairs = [connection() for _ in range(COUNT)]
except OSError as error:
    print(f"cannot connect through {PROXY} to {LISTEN}: {error!r}")
    raise SystemExit(2)
