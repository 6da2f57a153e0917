"""Sessions that fetch as fast as they can: what the figure "a NOOP beside full streams" needs beside the NOOP.

A process of its own (`python -m benchmarks.streams PORT CERTIFICATE USER PASSWORD COUNT SECONDS`): the readers of the
streams must not share one with the clock that times the NOOP. Prints `ready`, and at the end what it read as JSON.
"""

import contextlib
import json
import os
import select
import ssl
import sys
import time

from benchmarks import load


def streams(target: load.Target, count: int, seconds: float) -> tuple[int, float]:
    """`count` sessions that fetch as fast as they can for a time; octets read and seconds it took.

    Prints `ready` when all streams flow.
    """
    context = target.context()
    epoll = select.epoll()
    by_fd: dict[int, ssl.SSLSocket] = {}
    for _ in range(count):
        sock = load.log_in(target, context)
        sock.sendall(b"s XSTREAM %d\r\n" % 2**40)
        sock.settimeout(0.0)
        epoll.register(sock.fileno(), select.EPOLLIN)
        by_fd[sock.fileno()] = sock
    buffer = bytearray(256 * 1024)
    print("ready", flush=True)
    start, octets = time.monotonic(), 0
    while time.monotonic() < start + seconds:
        for fd, _ in epoll.poll(1.0):
            with contextlib.suppress(ssl.SSLWantReadError):
                for _ in range(16):  # about 256 KiB, then the next stream
                    count_read = by_fd[fd].recv_into(buffer)
                    if not count_read:
                        raise load.LoadError("a stream was closed")
                    octets += count_read
    taken = time.monotonic() - start
    for sock in by_fd.values():
        sock.close()  # mid-stream: there is nothing polite to say
    return octets, taken


def main() -> None:
    _, port, certificate, user, password, count, seconds = sys.argv
    # The upstream and the NOOP's clock share processors with this process and must not queue behind it: only a task of
    # the idle class gives way at once (the fair class would finish its slice, 3 ms and more, first).
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    octets, taken = streams(load.Target(int(port), certificate, user, password), int(count), float(seconds))
    print(json.dumps({"octets": octets, "seconds": taken}), flush=True)


if __name__ == "__main__":
    main()
