"""The filters that `audit query`, `tail` and `export` share, and the search that they ask for."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TypedDict, TypeVar

import click

from gatekeeper.adapters.sinks.directory import segment_paths
from gatekeeper.adapters.sinks.index import IndexUnusable, LogIndex
from gatekeeper.adapters.sinks.search import Search
from gatekeeper.adapters.sinks.several import log_directories
from gatekeeper.audit.codes import Word
from gatekeeper.audit.pseudonyms import Kind
from gatekeeper.audit.record import DEFAULT_ADDRESS_PREFIX
from gatekeeper.audit.stored import codes_of
from gatekeeper.audit.wanted import Network, Wanted
from gatekeeper.cli.audit_codes import EventCodeType
from gatekeeper.cli.audit_names import pseudonyms_of
from gatekeeper.cli.audit_options import instant
from gatekeeper.domain.request import MailProtocol

_MAKING = "closed parts of the log are indexed, once; this takes some seconds for a million records"

_Command = TypeVar("_Command", bound=Callable[..., None])


def _network(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Network | None:
    if value is None:
        return None
    try:
        return ip_network(value, strict=False)
    except ValueError:
        raise click.BadParameter(f"`{value}` is neither an address nor a network such as 198.51.100.0/24") from None


_OPTIONS = (
    click.option("--user", help="Account."),
    click.option("--device", help="Device id."),
    click.option("--verdict", type=click.Choice([word.value for word in Word])),
    click.option("--rule", help="Id of a rule that matched."),
    click.option("--app", help="Id of a denied app that was found; `*` and `?` allowed."),
    click.option("--address", callback=_network, help="The client's address, or a network; recorded ones are cut."),
    click.option("--code", type=EventCodeType(), metavar="CODE", help="Event code, as GK1002W; `audit codes` lists."),
    click.option("--protocol", type=click.Choice([name.value for name in MailProtocol], case_sensitive=False)),
    click.option("--conn", help="Id of a connection."),
    click.option("--since", callback=instant, help="RFC 3339 time, or how long ago (`2h`)."),
    click.option("--until", callback=instant, help="RFC 3339 time, or how long ago."),
    click.option("--no-index", "without_index", is_flag=True, help="Read the log itself through, without its index."),
)


def filters(command: _Command) -> _Command:
    """Give a command the filters."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Filters(TypedDict):
    """What the options gave, by their names."""

    user: str | None
    device: str | None
    verdict: str | None
    rule: str | None
    app: str | None
    address: Network | None
    code: str | None
    protocol: str | None
    conn: str | None
    since: datetime | None
    until: datetime | None


def wanted_of(given: Filters) -> Wanted:
    """What the filters of a command ask for."""
    user, code, verdict = given["user"], given["code"], given["verdict"]
    codes = None if code is None else frozenset({code})
    if verdict is not None:
        codes = codes_of(verdict) if codes is None else codes & codes_of(verdict)
    account = None if user is None else user.lower()
    return Wanted(
        account=account,
        device=given["device"],
        also=pseudonyms_of(account, given["device"]),
        codes=codes,
        rule=given["rule"],
        app=given["app"],
        protocol=given["protocol"],
        conn=given["conn"],
        network=given["address"],
        since=given["since"],
        until=given["until"],
    )


def asked(given: Filters, pseudonyms: frozenset[str] = frozenset()) -> str:
    """The filters as text; empty: everything was asked for. An address is cut as recorded ones are.

    `pseudonyms` stand in the place of the names that they are of.
    """
    said = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in given.items()}
    network = given["address"]
    if network is not None:
        kept = DEFAULT_ADDRESS_PREFIX[network.version == 6]
        said["address"] = network.supernet(new_prefix=min(network.prefixlen, kept))
    for name, kind in (("user", Kind.PERSON), ("device", Kind.DEVICE)):
        if pseudonyms and said[name] is not None:
            said[name] = ",".join(sorted(one for one in pseudonyms if one.startswith(kind.value)))
    return " ".join(f"{name}={value}" for name, value in said.items() if value is not None)


@contextmanager
def searching(directory: Path, wanted: Wanted, *, without_index: bool) -> Iterator[Search]:
    """The search in an audit directory; complaints go to stderr, each once."""
    said: set[str] = set()

    def complain(what: str) -> None:
        if what not in said:
            said.add(what)
            click.echo(f"note: {what}", err=True)

    if without_index or not wanted.is_indexed:
        yield Search(directory, wanted, complain)
        return
    try:
        index = LogIndex(directory, lambda: complain(_MAKING) if sys.stderr.isatty() else None)
    except IndexUnusable as error:
        complain(f"{error}; the log itself is read, which takes longer")
        yield Search(directory, wanted, complain)
        return
    with closing(index):
        index.forget_others(path for log in log_directories(directory) for path in segment_paths(log))
        yield Search(directory, wanted, complain, index)
