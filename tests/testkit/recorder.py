"""A mail server that records every byte it gets and answers as it was told; each connection is a thread.

IMAP, SMTP, POP3 and ManageSieve; what it says is in `recorder_dialogues`.
"""

import socket
import threading

from testkit.ports import LOOPBACK
from testkit.recorder_dialogues import DIALOGUES, OAUTH_ERROR
from testkit.recorder_peer import EndedError, Peer, Recorded, Script

__all__ = ["OAUTH_ERROR", "Peer", "Recorded", "Recorder", "Script"]


class Recorder:
    """The listening server; `stop` ends it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        """How connections that come from now on are served."""
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Recorded] = []
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def logged_in(self) -> list[Recorded]:
        """Return the connections whose log-in succeeded."""
        return [one for one in self.connections if one.logged_in_at is not None]

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it ended by itself in the meantime
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            recorded = Recorded()
            self.connections.append(recorded)
            thread = threading.Thread(target=self._serve, args=(connection, recorded), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, recorded: Recorded) -> None:
        self._open.add(connection)
        peer = Peer(connection, recorded)
        dialogue = DIALOGUES[self.script.protocol](peer, self.script)
        try:
            dialogue.run()
        except EndedError:
            pass
        except OSError:
            recorded.aborted = True  # a peer that refuses our certificate is a normal end here, too
        finally:
            recorded.ended = True
            self._open.discard(connection)
            peer.close()
