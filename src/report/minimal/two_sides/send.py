def send(s, thousands, gap=0):
    try:
        for i in range(0, thousands * 1000, 1000):
            time.sleep(gap)
            s.sendall(STREAM[i : i + 1000])
        s.shutdown(socket.SHUT_WR)
    except OSError as error:
        print("send:", repr(error))
