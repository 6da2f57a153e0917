"""The auth_http server that nginx asks on each log-in: as lean as Python can be, because its CPU counts for nginx.

One process, blocking, one short exchange after the other: the listener hands over a connection only when the request is
there (TCP_DEFER_ACCEPT), and nginx sends its request in one piece. Usage: auth_http.py PORT UPSTREAM_PORT USER PASSWORD.
"""

import contextlib
import signal
import socket
import sys
import types


def main() -> None:
    port, upstream_port = int(sys.argv[1]), int(sys.argv[2])
    expected = f"\r\nAuth-User: {sys.argv[3]}\r\nAuth-Pass: {sys.argv[4]}\r\n".encode()
    accepted = (
        f"HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: {upstream_port}\r\n\r\n".encode()
    )
    refused = b"HTTP/1.0 200 OK\r\nAuth-Status: [AUTHENTICATIONFAILED] no\r\n\r\n"
    signal.signal(signal.SIGTERM, _terminate)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError):
            connection.send(accepted if expected in connection.recv(4096) else refused)
        connection.close()


def _terminate(_signal: int, _frame: types.FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
