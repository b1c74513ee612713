def send(s, thousands, gap=0, until=None):
    try:
        for i in range(0, thousands * 1000, 1000):
            time.sleep(gap if i < 100_000 else 0)
            s.sendall(STREAM[i : i + 1000])
        if until:
            until.wait()
        s.shutdown(socket.SHUT_WR)
    except OSError as error:
        print("send:", repr(error))
