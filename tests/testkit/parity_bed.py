"""Two equal Dovecots, one of them behind a gate that lets everybody through: where parity is seen, in every protocol."""

import os
import shutil
from collections.abc import Callable, Mapping
from typing import Final

from testkit import dovecot as dovecot_server
from testkit.dovecot import DOMAIN, Dovecot, User
from testkit.gate import GateProcess, policy, upstream
from testkit.ports import LOOPBACK, free_port
from testkit.sessions import pop3_greeted
from testkit.sieve import reply as sieve_reply
from testkit.tls import Authority, KeyPair
from testkit.waiting import eventually
from testkit.wire import Wire

PARITY = User(f"parity@{DOMAIN}", "parity-password")

MORE = """
mail_plugins = quota acl
protocol imap {
  mail_plugins = quota acl imap_quota imap_acl imap_zlib
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=1G
  acl = vfile
  sieve_max_script_size = 100k
  sieve_quota_max_scripts = 4
}
"""
LISTENERS: Final = {
    "imaps": ("imap", "implicit"),
    "imap": ("imap", "starttls"),
    "pop3s": ("pop3", "implicit"),
    "pop3": ("pop3", "starttls"),
    "sieve": ("sieve", "starttls"),
}


class ParityBed:
    """The mail servers and the gate; `stop` ends them."""

    def __init__(self, certificate: KeyPair, authority: Authority, make_gate: Callable[..., GateProcess]) -> None:
        """Start all three, and let the gate hear what the mail servers offer."""
        self.servers = tuple(Dovecot(certificate, (PARITY,), more=MORE) for _ in range(2))
        spoken, behind = self.servers
        self.direct: Mapping[str, int] = {
            "imaps": spoken.imaps_port,
            "imap": spoken.imap_port,
            "pop3s": spoken.pop3s_port,
            "pop3": spoken.pop3_port,
            "sieve": spoken.sieve_port,
        }
        """The ports of the server that is spoken to directly, by the names of the gate's listeners."""
        self.through: Mapping[str, int] = {name: free_port() for name in LISTENERS}
        """The gate's."""
        self._authority = authority
        upstreams = _upstreams(behind)
        self._gate = make_gate(
            {
                "listener": [
                    {"name": name, "protocol": protocol, "bind": f"{LOOPBACK}:{self.through[name]}", "tls": mode}
                    for name, (protocol, mode) in LISTENERS.items()
                    if protocol in upstreams
                ],
                "upstream": upstreams,
            },
            policy_text=policy().replace('unknown_device   = "block"', 'unknown_device   = "allow"'),
        )
        self._gate.start()
        knows = {"imap": self._knows_imap, "pop3": self._knows_pop3, "sieve": self._knows_sieve}
        for protocol in upstreams:  # each is asked by itself, and none is waited for by a gate that starts
            eventually(knows[protocol], within=15, what=f"what the mail server offers by {protocol}")

    def empty(self, *messages: bytes) -> None:
        """Give the user fresh mailboxes with the same messages on both servers, down to names and UIDs."""
        for server in self.servers:
            home = server.maildir(PARITY)
            shutil.rmtree(home, ignore_errors=True)
            if messages:
                self._fill(server, messages)

    def stored(self) -> list[dict[str, bytes]]:
        """What lies in the user's directory on each server, by file name: messages and scripts."""
        return [
            {
                str(file.relative_to(server.maildir(PARITY))): file.read_bytes()
                for file in server.maildir(PARITY).rglob("*")
                if file.suffix == ".sieve" or file.parent.name in ("cur", "new")
            }
            for server in self.servers
        ]

    def stop(self) -> None:
        """End everything."""
        self._gate.discard()
        for server in self.servers:
            server.stop()

    def _knows_imap(self) -> bool:
        with Wire(self.through["imaps"], self._authority.client_context()) as wire:
            return b"AUTH=XOAUTH2" in wire.line()

    def _knows_pop3(self) -> bool:
        with pop3_greeted(self.through["pop3s"], self._authority.client_context()) as wire:
            return b"TOP" in wire.pop3(b"CAPA", lists=True)

    def _knows_sieve(self) -> bool:
        with Wire(self.through["sieve"]) as wire:
            return b'"IMPLEMENTATION" "Dovecot' in b"".join(sieve_reply(wire))

    @staticmethod
    def _fill(server: Dovecot, messages: tuple[bytes, ...]) -> None:
        home = server.maildir(PARITY)
        for folder in ("cur", "new", "tmp"):
            (home / folder).mkdir(parents=True)
        uids = [f"3 V1594371600 N{len(messages) + 1} G{1:032x}"]
        for number, message in enumerate(messages, 1):
            (home / "cur" / f"{number}.parity:2,").write_bytes(message)
            uids.append(f"{number} :{number}.parity")
        (home / "dovecot-uidlist").write_text("".join(f"{line}\n" for line in uids))
        for path in (home, *home.rglob("*")):
            os.chown(path, server.mail_uid, server.mail_gid)


def _upstreams(server: Dovecot) -> dict[str, object]:
    tables: dict[str, object] = {"imap": upstream(server.imap_port)}
    if dovecot_server.SPEAKS_POP3:
        tables["pop3"] = upstream(server.pop3_port) | {"client_address": "xclient"}
    if dovecot_server.SPEAKS_SIEVE:
        tables["sieve"] = upstream(server.sieve_port) | {"client_address": "xclient"}
    return tables
