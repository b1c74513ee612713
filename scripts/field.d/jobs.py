"""Workers that try programs at the same time. Knows nothing of what they try."""

import contextlib
import ctypes
import multiprocessing
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import launch

CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes, because each ends all that it started by walking down its own processes.

    The end of the 'with' waits for them; an exception ends them and what they started.
    """
    # What a worker leaves behind, because it was ended itself, comes to this process.
    launch.adopt_orphans()
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), set_up, (count > 1,))
    try:
        yield pool
        pool.shutdown()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        launch.end_all()


def set_up(is_one_of_many: bool) -> None:
    launch.adopt_orphans()
    if is_one_of_many:
        own_network()


def own_network() -> None:
    """A network with nothing but loopback: no port is taken by another worker's program, and no table is shared."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), f"no network namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
