def send(s, thousands, gap=0):
    try:
        for _ in range(thousands):
            time.sleep(gap)
            s.sendall(bytes(1000))
        s.shutdown(socket.SHUT_WR)
    except OSError as error:
        print("send:", repr(error))
