"""Who is who in the end-to-end tests: the mail users with their phones, and where clients connect to."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from testkit.dovecot import DOMAIN, User

ALICE = User(f"alice@{DOMAIN}", 'alice "pass" word')
"""Has a clean phone; a password that needs quoting on the wire."""
BOB = User(f"bob@{DOMAIN}", "bob's password")
"""Has a phone with TikTok."""
CAROL = User(f"carol@{DOMAIN}", "carol-password")
"""Has no registered device."""
SPARE = tuple(User(f"user{number:02}@{DOMAIN}", f"password {number:02}") for number in range(60))
"""Users with clean phones, for tests that need a mailbox of their own."""
MATRIX = {
    (client, action): User(f"{client}-{action}@{DOMAIN}", f"secret of {client}")
    for client in ("curl", "mbsync", "offlineimap", "neomutt", "fetchmail", "getmail", "msmtp", "swaks")
    for action in ("list", "fetch", "append", "idle", "send", "refuse")
}
"""A user with a mailbox of its own for each client's each action."""
POP3_CLIENTS = ("curl", "fetchmail", "getmail", "mpop", "poplib")
SIEVE_CLIENTS = ("sieveconnect", "sievelib")
"""Names without a hyphen, which parts the words of a test's id."""
DOORS = {"pop3s": "implicit", "stls": "starttls", "sieves": "implicit", "sieve": "starttls"}
"""The listeners of the matrix of POP3 and ManageSieve clients, and their TLS."""
MORE_MATRIX = {
    (client, door, action): User(f"{client}-{door}-{action}@{DOMAIN}", f"secret of {client}")
    for clients, doors, actions in (
        (POP3_CLIENTS, ("pop3s", "stls"), ("list", "fetch", "refuse")),
        (SIEVE_CLIENTS, ("sieves", "sieve"), ("list", "put", "activate", "get", "refuse")),
    )
    for client in clients
    for door in doors
    for action in actions
}
EVERYBODY = (ALICE, BOB, CAROL, *SPARE, *MATRIX.values(), *MORE_MATRIX.values())

ALICE_PHONE, BOB_PHONE = "ph-alice", "ph-bob"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the clients of a test connect to."""

    name: str
    imaps: int
    imap: int
    """STARTTLS."""
    submissions: int
    submission: int
    """STARTTLS."""
    ca_file: Path

    def context(self) -> ssl.SSLContext:
        """Return a client's context that trusts the servers."""
        return ssl.create_default_context(cafile=str(self.ca_file))


@dataclass(frozen=True, slots=True)
class Door:
    """Where a client that speaks one protocol connects to."""

    port: int
    is_implicit: bool
    """TLS at once; otherwise STLS or STARTTLS."""
    ca_file: Path
