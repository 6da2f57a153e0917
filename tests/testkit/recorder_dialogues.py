"""What a recording mail server says, protocol by protocol: just enough to let a proxy log in.

Capabilities, ID, EHLO, STARTTLS, LOGIN with any kind of string, SASL with and without initial response. From the log-in
on each line is answered with a fixed OK.
"""

import base64
import re
from collections.abc import Callable, Mapping

from testkit.recorder_peer import Peer, Script

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}$")
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s"{]+)')
_CHALLENGES = {"LOGIN": (b"Username:", b"Password:")}
_OAUTH = ("XOAUTH2", "OAUTHBEARER")
OAUTH_ERROR = b'{"status":"invalid_token","scope":"mail"}'


class _Dialogue:
    """What both protocols share: TLS, the judgement of credentials, the time after the log-in."""

    def __init__(self, peer: Peer, script: Script) -> None:
        self.peer = peer
        self.script = script
        self.secured = script.mode == "implicit"

    def run(self) -> None:
        if self.script.silent:
            while True:
                self.peer.chunk()
        if self.script.mode == "implicit":
            assert self.script.tls is not None
            self.peer.secure(self.script.tls)
        if self.script.act is not None:
            self.script.act(self.peer)
            while True:
                self.peer.chunk()
        if self.script.greeting is not None:
            self.peer.send(self.script.greeting)
            return
        self.talk()

    def talk(self) -> None:
        raise NotImplementedError

    def start_tls(self) -> None:
        assert self.script.tls is not None
        self.peer.secure(self.script.tls)
        self.secured = True

    def accepts(self, mechanism: str, response: bytes) -> bool:
        self.peer.recorded.sasl.append((mechanism, response))
        if self.script.accepts_all:
            return True
        if mechanism in _OAUTH:
            return any(f"auth=Bearer {token}\x01".encode() in response for token in self.script.tokens)
        user, _, password = response.rpartition(b"\0")
        user = user.rpartition(b"\0")[2]
        return self.script.passwords.get(user.decode(), "\0").encode() == password

    def sasl(self, mechanism: str, initial: bytes | None, ask: Callable[[bytes], bytes]) -> bool:
        """Run an exchange; `ask` sends a challenge and returns the decoded response."""
        if mechanism == "LOGIN":
            first, second = _CHALLENGES["LOGIN"]
            response = b"\0".join((ask(first) if initial is None else initial, ask(second)))
        else:
            response = ask(b"") if initial is None else initial
        accepted = self.accepts(mechanism, response)
        if not accepted and mechanism in _OAUTH:
            ask(OAUTH_ERROR)  # RFC 7628 §3.2.3: the client answers the error before the final refusal
        return accepted

    def after_login(self, answer: Callable[[bytes], bytes]) -> None:
        self.peer.recorded.logged_in_at = len(self.peer.recorded.received)
        pending = b""
        self.peer.wait()
        if self.script.before_data is not None:
            self.script.before_data(self.peer.recorded)
        while True:
            *lines, pending = (pending + self.peer.chunk()).split(b"\n")
            for line in lines:
                self.peer.send(answer(line))


class _Imap(_Dialogue):
    def talk(self) -> None:
        self.peer.send(b"* OK [CAPABILITY " + self.capabilities() + b"] recorder ready\r\n")
        while True:
            tag, _, rest = self.command().partition(b" ")
            word = rest.split(b" ", 1)[0].upper()
            if word == b"STARTTLS" and self.script.mode == "starttls":
                self.peer.send(tag + b" OK begin TLS\r\n")
                self.start_tls()
            elif word in (b"LOGIN", b"AUTHENTICATE"):
                accepted = self.login(rest) if word == b"LOGIN" else self.authenticate(rest)
                if accepted:
                    self.peer.send(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] logged in\r\n")
                    self.after_login(lambda line: line.split(b" ", 1)[0] + b" OK done\r\n")
                self.peer.send(tag + b" NO [AUTHENTICATIONFAILED] recorder says no\r\n")
            elif word == b"LOGOUT":
                self.peer.send(b"* BYE\r\n" + tag + b" OK bye\r\n")
                return
            else:
                self.peer.send(self.untagged(word) + tag + b" OK done\r\n")

    def capabilities(self) -> bytes:
        offered = b"IMAP4rev1 SASL-IR LITERAL+ ID IDLE AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 AUTH=OAUTHBEARER"
        return offered + (b" STARTTLS" if self.script.mode == "starttls" and not self.secured else b"")

    def untagged(self, word: bytes) -> bytes:
        if word == b"CAPABILITY":
            return b"* CAPABILITY " + self.capabilities() + b"\r\n"
        return b'* ID ("name" "recorder")\r\n' if word == b"ID" else b""

    def command(self) -> bytes:
        """Return a command with its literals written as quoted strings."""
        whole = b""
        while True:
            line = self.peer.line()
            literal = _LITERAL.search(line)
            if literal is None:
                return whole + line
            if not literal[2]:
                self.peer.send(b"+ go on\r\n")
            data = self.peer.exactly(int(literal[1]))
            whole += line[: literal.start()] + b'"' + re.sub(rb'(["\\])', rb"\\\1", data) + b'"'

    def login(self, rest: bytes) -> bool:
        strings = [
            re.sub(rb"\\(.)", rb"\1", quoted) if quoted or not atom else atom
            for quoted, atom in _STRING.findall(rest.split(b" ", 1)[1])
        ]
        return self.accepts("LOGIN", b"\0".join(strings))

    def authenticate(self, rest: bytes) -> bool:
        _, mechanism, *initial = rest.split(b" ")
        return self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask)

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.peer.line())


class _Smtp(_Dialogue):
    def talk(self) -> None:
        self.peer.send(b"220 recorder ESMTP\r\n")
        while True:
            line = self.peer.line()
            word = line.split(b" ", 1)[0].upper()
            if word == b"EHLO":
                self.peer.send(self.features())
            elif word == b"STARTTLS" and self.script.mode == "starttls":
                self.peer.send(b"220 2.0.0 begin TLS\r\n")
                self.start_tls()
            elif word == b"AUTH":
                _, mechanism, *initial = line.split(b" ")
                if self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask):
                    self.peer.send(b"235 2.7.0 logged in\r\n")
                    self.after_login(lambda line: b"221 2.0.0 bye\r\n" if _is_quit(line) else b"250 2.0.0 done\r\n")
                self.peer.send(b"535 5.7.8 recorder says no\r\n")
            elif word == b"QUIT":
                self.peer.send(b"221 2.0.0 bye\r\n")
                return
            else:
                self.peer.send(b"250 2.0.0 done\r\n")

    def features(self) -> bytes:
        features = [b"recorder", *self.script.features]
        if self.script.mode == "starttls" and not self.secured:
            features.append(b"STARTTLS")
        return b"".join(b"250-" + one + b"\r\n" for one in features[:-1]) + b"250 " + features[-1] + b"\r\n"

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b"334 " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.peer.line())


class _Pop3(_Dialogue):
    def talk(self) -> None:
        self.peer.send(b"+OK recorder ready\r\n")
        while True:
            line = self.peer.line()
            word = line.split(b" ", 1)[0].upper()
            if word == b"CAPA":
                self.peer.send(self.capabilities())
            elif word == b"STLS" and self.script.mode == "starttls":
                self.peer.send(b"+OK begin TLS\r\n")
                self.start_tls()
            elif word == b"AUTH":
                _, mechanism, *initial = line.split(b" ")
                if self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask):
                    self.peer.send(b"+OK logged in\r\n")
                    self.after_login(lambda line: b"+OK bye\r\n" if _is_quit(line) else b"+OK done\r\n")
                self.peer.send(b"-ERR [AUTH] recorder says no\r\n")
            elif word == b"QUIT":
                self.peer.send(b"+OK bye\r\n")
                return
            else:
                self.peer.send(b"-ERR what\r\n")

    def capabilities(self) -> bytes:
        capabilities = [b"TOP", b"UIDL", b"PIPELINING", b"UTF8", b"X-AROUND", b"SASL PLAIN XOAUTH2 OAUTHBEARER"]
        if self.script.mode == "starttls" and not self.secured:
            capabilities.append(b"STLS")
        return b"+OK\r\n" + b"".join(one + b"\r\n" for one in capabilities) + b".\r\n"

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
        return base64.b64decode(self.peer.line())


class _Sieve(_Dialogue):
    """Answers `UNAUTHENTICATE` as the script says: the gate asks for it after each log-in."""

    def talk(self) -> None:
        self.peer.send(self.capabilities())
        while True:
            words = self.strings(self.peer.line())
            word = words[0].upper()
            if word == b"CAPABILITY":
                self.peer.send(self.capabilities())
            elif word == b"STARTTLS" and self.script.mode == "starttls":
                self.peer.send(b'OK "begin TLS"\r\n')
                self.start_tls()
                self.peer.send(self.capabilities())
            elif word == b"AUTHENTICATE":
                mechanism, *initial = words[1:]
                if self.sasl(mechanism.decode().upper(), _decoded(initial), self.ask):
                    self.peer.send(b'OK "logged in"\r\n')
                    self.logged_in()
                self.peer.send(b'NO "recorder says no"\r\n')
            elif word == b"LOGOUT":
                self.peer.send(b'OK "bye"\r\n')
                return
            else:
                self.peer.send(b'NO "what"\r\n')

    def logged_in(self) -> None:
        if self.peer.line() == b"UNAUTHENTICATE":
            self.peer.send(self.script.unauthenticate)
        self.after_login(lambda line: b'OK "bye"\r\n' if line.strip().upper() == b"LOGOUT" else b'OK "done"\r\n')

    def capabilities(self) -> bytes:
        offered = [b'"IMPLEMENTATION" "recorder"', b'"SASL" "PLAIN XOAUTH2 OAUTHBEARER"', b'"SIEVE" "fileinto"']
        offered += [b'"VERSION" "1.0"', b'"X-AROUND"', *(b'"%b"' % one for one in self.script.sieve_features)]
        if self.script.mode == "starttls" and not self.secured:
            offered.append(b'"STARTTLS"')
        return b"".join(line + b"\r\n" for line in (*offered, b'OK "ready"'))

    def ask(self, challenge: bytes) -> bytes:
        self.peer.send(b'"' + base64.b64encode(challenge) + b'"\r\n')
        return base64.b64decode(self.strings(self.peer.line())[0])

    def strings(self, line: bytes) -> list[bytes]:
        """Return the words and strings of a command; a literal is read."""
        found = [atom or quoted for quoted, atom in _STRING.findall(_LITERAL.sub(b"", line))]
        if literal := _LITERAL.search(line):
            found.append(self.peer.exactly(int(literal[1])))
            assert self.peer.line() == b"", "nothing stands behind the last string"
        return found or [b""]


DIALOGUES: Mapping[str, type[_Dialogue]] = {"imap": _Imap, "smtp": _Smtp, "pop3": _Pop3, "sieve": _Sieve}


def _is_quit(line: bytes) -> bool:
    return line.strip().upper() == b"QUIT"


def _decoded(initial: list[bytes]) -> bytes | None:
    if not initial:
        return None
    return b"" if initial[0] == b"=" else base64.b64decode(initial[0])
