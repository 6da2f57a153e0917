"""An LDAP server that says what a test wants, over TLS: for what OpenLDAP does not do, or no good server does."""

import socket
import ssl
import threading
from collections.abc import Callable, Sequence

import sansldap

from testkit.ports import LOOPBACK
from testkit.tls import KeyPair, server_context

Answer = Callable[[sansldap.LDAPServer, sansldap.LDAPMessage], bytes | None]
"""Puts its answer into the session; or returns octets that are sent as they are."""


class LdapPeer:
    """Takes one connection; `stop` ends it."""

    def __init__(self, pair: KeyPair, answer: Answer, *, greeting: bytes | None = None) -> None:
        """`greeting`: what is sent in the clear to the first message, and TLS after it."""
        self._context = server_context(pair)
        self._answer = answer
        self._greeting = greeting
        self.asked: list[sansldap.SearchRequest] = []
        """The searches."""
        self._server = socket.create_server((LOOPBACK, 0))
        self._server.settimeout(10)
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.close()
        self._thread.join(10)

    def _serve(self) -> None:
        try:
            taken, _ = self._server.accept()
        except OSError:
            return
        with taken:
            try:
                if self._greeting is not None:
                    taken.recv(4096)
                    taken.sendall(self._greeting)
                with self._context.wrap_socket(taken, server_side=True) as peer:
                    self._talk(peer)
            except OSError:
                pass  # the other side has had enough

    def _talk(self, peer: ssl.SSLSocket) -> None:
        session = sansldap.LDAPServer()
        while data := peer.recv(65_536):
            for message in session.receive(data):
                if isinstance(message, sansldap.SearchRequest):
                    self.asked.append(message)
                raw = self._answer(session, message)
                peer.sendall(session.data_to_send() if raw is None else raw)


def entry(session: sansldap.LDAPServer, message: sansldap.SearchRequest, dn: str, **attributes: Sequence[str]) -> None:
    """Answer a search with an entry."""
    found = [
        sansldap.PartialAttribute(name, [value.encode() for value in values]) for name, values in attributes.items()
    ]
    session.search_result_entry(message.message_id, dn, found)
