"""A second opinion: asks a server the suite's questions with plain sockets, and shares no code with echo-tester.

When the suite and a program disagree, this tells which of the two is right. It reports what happened and judges nothing.
"""

import contextlib
import errno
import selectors
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

# Seconds that a question may take.
PATIENCE = 10
RESET = struct.pack("ii", 1, 0)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def read(client: socket.socket, most: int) -> tuple[int, str]:
    """Up to 'most' bytes: how many came, and how it ended."""
    count = 0
    try:
        while count < most:
            data = client.recv(min(65536, most - count))
            if not data:
                return count, "FIN"
            count += len(data)
    except TimeoutError:
        return count, f"silence for {client.gettimeout():g} s"
    except OSError as error:
        return count, errno.errorcode.get(error.errno, str(error))
    return count, "all came"


def echo(port: int) -> str:
    with connect(port) as client:
        client.sendall(b"x" * 1000)
        return "1,000 bytes: {} back, {}".format(*read(client, 1000))


def half_close(port: int) -> str:
    with connect(port) as client:
        client.sendall(b"x" * 1000)
        client.shutdown(socket.SHUT_WR)
        return "1,000 bytes and FIN: {} back, {}".format(*read(client, 2000))


def half_close_later(port: int) -> str:
    """The FIN comes alone, when all bytes are back: only the end itself is in question."""
    with connect(port) as client:
        client.sendall(b"x" * 1000)
        came = read(client, 1000)[0]
        client.shutdown(socket.SHUT_WR)
        return f"FIN after {came} of 1,000 bytes are back: {read(client, 1)[1]}"


def backlog_behind_fin(port: int) -> str:
    """Writes 16 MiB without reading, or until it blocks, then FIN, then reads after 1 s; a small receive buffer."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", port))
        client.settimeout(2)
        sent, problem = 0, ""
        try:
            while sent < 16 << 20:
                sent += client.send(b"x" * 16384)
        except TimeoutError:
            problem = " (blocked)"
        client.shutdown(socket.SHUT_WR)
        time.sleep(1)
        client.settimeout(PATIENCE)
        return "{} bytes{} and FIN, unread for 1 s: {} back, {}".format(sent, problem, *read(client, sent + 1))


def blocks_and_goes_on(port: int) -> str:
    """Writes without reading until it blocks, 64 MiB at most, then reads all that is owed while it writes nothing."""
    sent = 0
    with connect(port) as client:
        client.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += client.send(b"x" * 65536)
        client.settimeout(PATIENCE)
        return "{} bytes written unread: {} back, {}".format(sent, *read(client, sent))


def blocks(port: int) -> str:
    """Writes without reading until nothing is taken for 3 s, 512 MiB at most."""
    sent, since = 0, time.monotonic()
    with connect(port) as client:
        client.settimeout(3)
        try:
            while sent < 512 << 20:
                sent += client.send(b"x" * 65536)
        except TimeoutError:
            return f"a write blocks after {sent / 1048576:.1f} MiB"
        except OSError as error:
            return f"after {sent / 1048576:.1f} MiB: {errno.errorcode.get(error.errno, error)}"
        return f"never blocks: {sent / 1048576:.0f} MiB taken in {time.monotonic() - since:.1f} s"


def beside(port: int) -> str:
    """Whether a connection is served while another one is silent, and while another one does not read."""
    with connect(port):
        silent = echo(port)
    with connect(port) as stuck:
        stuck.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(1024):
                stuck.send(b"x" * 65536)
        return f"beside a silent one: {silent}; beside one that does not read: {echo(port)}"


def round_trips(port: int) -> str:
    """Round trips of 100 bytes beside sixteen connections that write and never read: as they fill up, and after."""
    stuck = [connect(port) for _ in range(16)]
    for client in stuck:
        client.setblocking(False)
    times = []
    with connect(port) as client:
        for _ in range(40):
            for other in stuck:
                with contextlib.suppress(OSError):
                    for _ in range(64):
                        other.send(b"x" * 65536)
            start = time.monotonic()
            client.sendall(b"x" * 100)
            if read(client, 100)[0] < 100:
                return f"after {len(times)} round trips: no echo"
            times.append(time.monotonic() - start)
    for other in stuck:
        other.close()
    first, last = (sorted(half)[10] * 1000 for half in (times[:20], times[20:]))
    return f"median round trip {first:.0f} ms as they fill up, {last:.0f} ms after; longest {max(times) * 1000:.0f} ms"


def many(port: int, count: int, burst: bool) -> str:
    """So many connections at once, each with two segments; in a burst, all connects are sent before any is awaited."""
    selector, clients, outcomes = selectors.DefaultSelector(), [], {}
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        selector.register(client, selectors.EVENT_WRITE)
        clients.append(client)
        if not burst:
            time.sleep(0.002)
    waiting, deadline = count, time.monotonic() + PATIENCE

    def done(client: socket.socket, how: str) -> int:
        selector.unregister(client)
        outcomes[how] = outcomes.get(how, 0) + 1
        return 1

    while waiting and time.monotonic() < deadline:
        for key, _ in selector.select(0.5):
            client = key.fileobj
            try:
                if key.events == selectors.EVENT_WRITE:
                    client.send(b"x" * 100)
                    client.send(b"x" * 100)
                    selector.modify(client, selectors.EVENT_READ)
                else:
                    waiting -= done(client, "echo" if client.recv(100) else "FIN")
            except OSError as error:
                waiting -= done(client, errno.errorcode.get(error.errno, str(error)))
    for client in clients:
        client.close()
    return ", ".join(f"{number} {how}" for how, number in [*outcomes.items(), ("silence", waiting)] if number)


def serial(port: int) -> str:
    start = time.monotonic()
    for number in range(2000):
        try:
            with connect(port) as client:
                client.sendall(b"x" * 100)
                count, how = read(client, 100)
        except OSError as error:
            return f"connection {number}: {error}"
        if count < 100:
            return f"connection {number}: {count} of 100 bytes, {how}"
    return f"2,000 times open, echo, close in {time.monotonic() - start:.1f} s"


def resets(port: int) -> str:
    """Thirty connections are reset while they are served; then one more asks for an echo."""
    for _ in range(30):
        with connect(port) as client:
            client.sendall(b"x" * 50000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return echo(port)


def idle(port: int) -> str:
    with connect(port) as client:
        client.sendall(b"x")
        first = read(client, 1)
        client.settimeout(5)
        end = read(client, 1)
        return f"after one byte ({first[1]}), idle: {end[1]}"


def urgent(port: int) -> str:
    """20 connections: 10,000 bytes, an urgent byte, 10,000 bytes. The urgent byte may be dropped or come inline."""
    ends: dict[str, int] = {}
    for _ in range(20):
        with connect(port) as client:
            client.settimeout(2)
            client.sendall(b"x" * 10000)
            client.send(b"!", socket.MSG_OOB)
            client.sendall(b"y" * 10000)
            count, how = read(client, 20000)
        end = "all" if count == 20000 else "10,000" if count in (10000, 10001) else f"{count:,}"
        text = f"{end} back{'' if end == 'all' else ', ' + how}"
        ends[text] = ends.get(text, 0) + 1
    return "of 20: " + "; ".join(f"{count} × {end}" for end, count in sorted(ends.items()))


def urgent_last(port: int) -> str:
    """256 KiB that are not read for 0.3 s, an urgent byte, and FIN."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", port))
        client.sendall(b"x" * 262144)
        client.send(b"!", socket.MSG_OOB)
        client.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
        return "262,144 bytes, an urgent byte and FIN: {} back, {}".format(*read(client, 262146))


def small_window(port: int) -> str:
    """6 MiB through a receive buffer of 64 KiB from which nothing is read for 2 s, and then a few bytes at a time."""
    total = 6 << 20
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        sent, count, since = 0, 0, time.monotonic()
        while count < total:
            elapsed = time.monotonic() - since
            if elapsed > 6 * PATIENCE:
                return f"{sent} bytes sent, {count} back after {elapsed:.0f} s"
            with contextlib.suppress(BlockingIOError):
                sent += client.send(b"x" * min(65536, total - sent)) if sent < total else 0
            if elapsed < 2:
                continue
            with contextlib.suppress(BlockingIOError):
                data = client.recv(16 if elapsed < 2.5 else 65536)
                if not data:
                    return f"{sent} bytes sent, {count} back, FIN"
                count += len(data)
        return f"{total} bytes: all came"


def small_segments(port: int) -> str:
    """64 connections of 4 KiB to 316 KiB with a small window, FIN, and 3 s until anything is read."""
    with ThreadPoolExecutor(64) as pool:
        missed = [text for text in pool.map(lambda number: small_segments_of(port, 4096 * (1 + 5 * number // 4)),
                                            range(64)) if text]
    return f"of 64 with a small window, {len(missed)} lost bytes behind FIN: {'; '.join(missed[:4]) or 'none'}"


def small_segments_of(port: int, total: int) -> str:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        client.settimeout(PATIENCE)
        try:
            client.connect(("127.0.0.1", port))
            client.sendall(b"x" * total)
            client.shutdown(socket.SHUT_WR)
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
        time.sleep(3)
        count, how = read(client, total + 1)
        return "" if (count, how) == (total, "FIN") else f"{count} of {total} bytes, {how}"


def fin_at_once(port: int) -> str:
    """3,000 times: bytes and FIN right behind the connect, 60 at a time."""
    short: dict[str, int] = {}
    for _ in range(50):
        clients = []
        for _ in range(60):
            client = connect(port)
            client.sendall(b"x" * 2000)
            client.shutdown(socket.SHUT_WR)
            clients.append(client)
        for client in clients:
            with client:
                count, how = read(client, 2001)
                if (count, how) != (2000, "FIN"):
                    text = f"{count} of 2,000 bytes, {how}"
                    short[text] = short.get(text, 0) + 1
    return "3,000 times bytes and FIN at once: " + ("; ".join(f"{n} × {t}" for t, n in short.items()) or "all exact")


QUESTIONS = {
    "echo": echo,
    "half-close": half_close,
    "half-close later": half_close_later,
    "half-close behind a backlog": backlog_behind_fin,
    "blocks": blocks,
    "reads after it": blocks_and_goes_on,
    "beside others": beside,
    "beside sixteen": round_trips,
    "65 at once": lambda port: many(port, 65, burst=False),
    "1,025 at once": lambda port: many(port, 1025, burst=False),
    "500 in a burst": lambda port: many(port, 500, burst=True),
    "one after the other": serial,
    "after resets": resets,
    "idle": idle,
    "urgent": urgent,
    "urgent, then FIN": urgent_last,
    "a small window": small_window,
    "FIN behind small segments": small_segments,
    "FIN before accept": fin_at_once,
}


def ask_all(port: int, text: str) -> None:
    """Asks the questions whose name contains the text."""
    for name, ask in QUESTIONS.items():
        if text not in name:
            continue
        try:
            answer = ask(port)
        except OSError as error:
            answer = f"{type(error).__name__}: {error}"
        print(f"  {name + ':':30} {answer}", flush=True)
