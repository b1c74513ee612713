PROXY, LISTEN, PATIENCE = (@HOST@, @PORT@), (@LISTEN_HOST@, @LISTEN_PORT@), @PATIENCE@
STREAM = array("I", range(4_000_000)).tobytes()  # no two places are equal, so a wrong byte shows

def connection():
    client = socket.create_connection(PROXY, timeout=PATIENCE)
    client.sendall(b"!")  # some proxies connect only when bytes have come
    while True:  # a connection that brings no byte is a health check
        server = listener.accept()[0]
        server.settimeout(PATIENCE)
        if server.recv(1):
            return client, server

def receive(s):
    received, end, wrong = 0, "a FIN", ""
    try:
        while data := s.recv(65536):
            if data != STREAM[received : received + len(data)]:
                wrong = ", and not all were right"
            received += len(data)
    except OSError as error:
        end = repr(error)
    return received, end + wrong

try:
    listener = socket.create_server(LISTEN, family=socket.AF_INET6 if ":" in LISTEN[0] else socket.AF_INET)
    listener.settimeout(PATIENCE)
    pairs = [connection() for _ in range(COUNT)]
except OSError as error:
    print(f"cannot connect through {PROXY} to {LISTEN}: {error!r}")
    raise SystemExit(2)
