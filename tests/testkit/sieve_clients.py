"""ManageSieve clients as people run them, from a `Seat` whose target is a `Door`: what each can do with `main`.

The script to put lies in `up.sieve` of the seat's directory, and one that was got comes to `down.sieve`.
"""

import sys
from collections.abc import Callable, Mapping

from testkit.clients import Outcome, Seat, run

Action = Callable[[Seat], Outcome]


def _sieve_connect(seat: Seat, *arguments: str) -> Outcome:
    user, target = seat.user, seat.target
    who = ("--server", "localhost", "--port", str(target.port), "--user", user.login, "--passwordfd", "0")
    how = ("--tlscafile", str(target.ca_file), "--authmech", "PLAIN")
    return run(seat, "sieve-connect", *who, *how, *arguments, given=f"{user.password}\n".encode())


_SIEVELIB = """
import sys
from sievelib.managesieve import Client
port, login, password, verb, implicit = sys.argv[1:]
client = Client("localhost", int(port))
implicit = implicit == "True"
if not client.connect(login, password, starttls=not implicit, ssl=implicit):
    sys.exit(client.errmsg.decode())
if verb == "list":
    print(client.listscripts())
elif verb == "put":
    done = client.putscript("main", open("up.sieve", newline="").read())
elif verb == "activate":
    done = client.setactive("main")
else:
    open("down.sieve", "w", newline="").write(client.getscript("main"))
client.logout()
"""


def _sievelib(seat: Seat, verb: str) -> Outcome:
    user, target = seat.user, seat.target
    settings = (str(target.port), user.login, user.password, verb, str(target.is_implicit))
    return run(seat, sys.executable, "-c", _SIEVELIB, *settings)


ACTIONS: Mapping[str, Mapping[str, Action]] = {
    "sieveconnect": {
        "list": lambda seat: _sieve_connect(seat, "--list"),
        "put": lambda seat: _sieve_connect(seat, "--upload", "--localsieve", "up.sieve", "--remotesieve", "main"),
        "activate": lambda seat: _sieve_connect(seat, "--activate", "--remotesieve", "main"),
        "get": lambda seat: _sieve_connect(seat, "--download", "--remotesieve", "main", "--localsieve", "down.sieve"),
    },
    "sievelib": {
        "list": lambda seat: _sievelib(seat, "list"),
        "put": lambda seat: _sievelib(seat, "put"),
        "activate": lambda seat: _sievelib(seat, "activate"),
        "get": lambda seat: _sievelib(seat, "get"),
    },
}
"""What each client can do; sieve-connect speaks STARTTLS only."""
