"""POP3 clients as people run them, from a `Seat` whose target is a `Door`: what each can do."""

import sys
from collections.abc import Callable, Mapping

from testkit.clients import GETMAIL_ADDS, Outcome, Seat, fetchmail, maildir, make_deliver, make_maildir, run

Action = Callable[[Seat], Outcome]

_MPOPRC = """
account gate
host localhost
port {target.port}
tls on
tls_starttls %s
tls_trust_file {target.ca_file}
auth user
user {user.login}
password {user.password}
delivery maildir {home}/near
uidls_file {home}/uidls
received_header off
keep on
account default : gate
"""


def _mpop(seat: Seat, *arguments: str) -> Outcome:
    make_maildir(seat.home / "near")
    config = seat.file("mpoprc", _MPOPRC % ("off" if seat.target.is_implicit else "on"))
    done = run(seat, "mpop", f"--file={config}", *arguments)
    return Outcome(done.code, done.said, maildir(seat.home / "near"))


_FETCHMAILRC = """
set no bouncemail
set invisible
poll localhost protocol pop3 port {target.port}
  user "{user.login}" password "{user.password}" is root here
  %s sslcertck sslcertfile "{target.ca_file}"
  no rewrite pass8bits keep fetchall
  mda "{home}/deliver"
"""


def _fetchmail(seat: Seat, *arguments: str) -> Outcome:
    make_deliver(seat)
    config = seat.file("fetchmailrc", _FETCHMAILRC % ("ssl" if seat.target.is_implicit else 'sslproto "TLS1.2+"'))
    done = run(seat, *fetchmail(seat, config), *arguments)
    return Outcome(done.code, done.said, maildir(seat.home / "near"))


_GETMAILRC = """
[retriever]
type = SimplePOP3SSLRetriever
server = localhost
port = {target.port}
username = {user.login}
password = {user.password}
ca_certs = {target.ca_file}
[destination]
type = MDA_external
path = {home}/deliver
allow_root_commands = true
unixfrom = false
[options]
read_all = true
delivered_to = false
received = false
"""


def _getmail(seat: Seat) -> Outcome:
    make_deliver(seat)
    config = seat.file("getmailrc", _GETMAILRC)
    done = run(seat, "getmail", "--getmaildir", str(seat.home), "--rcfile", config)
    return Outcome(done.code, done.said, maildir(seat.home / "near", *GETMAIL_ADDS))


def _curl(seat: Seat, path: str, *arguments: str) -> Outcome:
    config = seat.file(
        "curlrc", 'silent\nshow-error\nverbose\ncacert = "{target.ca_file}"\nuser = "{user.login}:{user.password}"\n'
    )
    url = f"{'pop3s' if seat.target.is_implicit else 'pop3'}://localhost:{seat.target.port}/{path}"
    return run(seat, "curl", "--config", config, "--ssl-reqd", "--max-time", "20", *arguments, url)


def _curl_fetch(seat: Seat) -> Outcome:
    file = seat.home / "fetched"
    done = _curl(seat, "1", "--output", str(file))
    return Outcome(done.code, done.said, frozenset({file.read_bytes()}) if file.exists() else frozenset())


_POPLIB = """
import poplib, ssl, sys
port, login, password, verb, implicit, file = sys.argv[1:]
context = ssl.create_default_context()
if implicit == "True":
    client = poplib.POP3_SSL("localhost", int(port), context=context, timeout=20)
else:
    client = poplib.POP3("localhost", int(port), timeout=20)
    client.stls(context)
client.user(login)
client.pass_(password)
if verb == "list":
    print(client.list())
else:
    open(file, "wb").write(b"".join(line + b"\\r\\n" for line in client.retr(1)[1]))
client.quit()
"""


def _poplib(seat: Seat, verb: str) -> Outcome:
    file, user, target = seat.home / "fetched", seat.user, seat.target
    settings = (str(target.port), user.login, user.password, verb, str(target.is_implicit), str(file))
    done = run(seat, sys.executable, "-c", _POPLIB, *settings)
    return Outcome(done.code, done.said, frozenset({file.read_bytes()}) if file.exists() else frozenset())


ACTIONS: Mapping[str, Mapping[str, Action]] = {
    "curl": {"list": lambda seat: _curl(seat, ""), "fetch": _curl_fetch},
    "fetchmail": {"list": lambda seat: _fetchmail(seat, "--check"), "fetch": _fetchmail},
    "getmail": {"fetch": _getmail},
    "mpop": {"list": lambda seat: _mpop(seat, "--status-only"), "fetch": _mpop},
    "poplib": {"list": lambda seat: _poplib(seat, "list"), "fetch": lambda seat: _poplib(seat, "fetch")},
}
"""What each client can do; getmail speaks implicit TLS only."""
