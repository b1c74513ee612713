"""Starts a program on loopback, waits until it listens, and ends everything that it started, by process id."""

import contextlib
import ctypes
import os
import random
import resource
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from program import Program, Skip

# Descriptors that each program may open, so that the suite meets the program's limits and not the shell's.
DESCRIPTORS = 16384
# Seconds until a program must listen. A JVM on a busy machine takes the longest.
START_LIMIT = 30
# Seconds that a program may take to end after SIGTERM.
END_LIMIT = 2
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Makes this process the parent of daemons whose parents end, so that they can be found and ended."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Running:
    """A program that runs, with its backend if it has one. After a crash it can be started again, on the same ports."""

    def __init__(self, program: Program, tester: Path, serve_backend: bool) -> None:
        names = program.ports() + (["backend"] if program.has_backend() else [])
        ports = dict(zip(names, free_ports(len(names))))
        for name, text in program.files.items():
            (program.directory / name).write_text(program.fill(text, ports))
        self.backend = ports.get("backend")
        # A proxy that is asked for each target forwards to none on its own.
        self.port = self.backend if program.via else ports["port"]
        self.via = ["--via", program.fill(program.via, ports)] if program.via else []
        self.ports = {port for name, port in ports.items() if name != "backend" or serve_backend}
        self.directory = program.directory
        self.log = program.directory / "output.log"
        self.log.write_text("")
        self.commands = [shlex.split(program.fill(command, ports)) for command in program.start]
        if "backend" in ports and serve_backend:
            self.commands.insert(0, [str(tester), "serve", "--bind", f"127.0.0.1:{ports['backend']}"])
        # The process of the last command: of a tunnel, the end that the tester connects to.
        self.pid = 0

    def start(self) -> None:
        for command in self.commands:
            self.pid = start(command, self.directory, self.log)
        wait_until_listening(self.ports, self.log)

    def start_if_gone(self) -> None:
        if not self.ports <= listening_ports():
            end_all()
            self.start()


@contextlib.contextmanager
def started(program: Program, tester: Path, serve_backend: bool = True) -> Iterator[Running]:
    """The program, and its backend if it has one and that is wanted, for the length of a 'with'."""
    running = Running(program, tester, serve_backend)
    try:
        running.start()
        yield running
    finally:
        end_all()


def start(command: list[str], directory: Path, log: Path) -> int:
    def raise_limit() -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))

    try:
        with log.open("a") as output:
            return subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                    preexec_fn=raise_limit, start_new_session=True).pid
    except OSError as error:
        raise Skip(f"cannot start {command[0]}: {error.strerror}") from None


def free_ports(count: int) -> list[int]:
    """Free ports below the range from which the system gives ports to clients."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def listening_ports() -> set[int]:
    """From the system's table: to connect would already be a connection that the program sees."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                ports.add(int(columns[1].rsplit(":", 1)[1], 16))
    return ports


def wait_until_listening(ports: set[int], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not ports <= listening_ports():
        if time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines() or ["it printed nothing"]
            raise Skip(f"does not listen after {START_LIMIT} s: {lines[-1].strip()}")
        time.sleep(0.05)


def descendants() -> list[int]:
    """All processes below this one, children first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name stands in parentheses and may hold blanks.
            after_name = stat.read_text(errors="replace").rsplit(")", 1)[1].split()
            parents.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found, queue = [], [os.getpid()]
    while queue:
        children = parents.get(queue.pop(0), [])
        found += children
        queue += children
    return found


def end_all() -> None:
    """SIGTERM, then SIGKILL, to every process below this one, until none is left."""
    deadline = time.monotonic() + END_LIMIT
    told: set[int] = set()
    while True:
        reap()
        alive = descendants()
        if not alive:
            return
        is_late = time.monotonic() > deadline
        for pid in alive:
            if is_late or pid not in told:
                told.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        time.sleep(0.05)


def reap(spare: int = 0) -> None:
    """Takes away the processes that have ended, up to the spared one: whoever started that waits for it.

    Orphans of servers that start a process for each connection would use up the process ids of the machine.
    """
    with contextlib.suppress(ChildProcessError):
        while child := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if child.si_pid == spare:
                return
            os.waitpid(child.si_pid, 0)


def wait(process: subprocess.Popen, limit: float) -> None:
    """Waits for a process, and reaps all others that end."""
    deadline = time.monotonic() + limit
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise subprocess.TimeoutExpired(process.args, limit)
        reap(spare=process.pid)
        time.sleep(0.1)
