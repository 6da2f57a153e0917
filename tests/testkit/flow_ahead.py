"""A bed whose front makes connections ahead of their log-ins, and how its mail server changes in the midst."""

from collections.abc import Awaitable, Callable

from gatekeeper.net.dial import TlsMode
from testkit.flow_bed import Bed, Conversation, MailServer, Phone, obliging
from testkit.flow_talk import admitted
from testkit.tls import Authority


def ahead_bed(authority: Authority, upstream: TlsMode = TlsMode.OFF) -> Bed:
    """Return one of which nothing else is special."""
    bed = Bed(authority, upstream=upstream)
    bed.preconnect = True
    return bed


async def made_ahead(bed: Bed) -> Conversation:
    """Two log-ins that follow each other, and the connection that was made for a third."""
    await admitted(bed)
    await admitted(bed)
    await bed.comes_true(lambda: bed.front.preconnect.is_greeted)
    return bed.server.conversations[2]


def logins(bed: Bed) -> list[int]:
    """Return how many log-ins each connection brought to the mail server."""
    return [len(conversation.logins) for conversation in bed.server.conversations]


def once(
    server: MailServer, script: Callable[[Conversation, bytes], Awaitable[bool]]
) -> Callable[[Conversation, bytes], Awaitable[bool]]:
    """For the next line only."""
    before = server.script

    async def once(conversation: Conversation, line: bytes) -> bool:
        server.script = before
        return await script(conversation, line)

    return once


async def admitted_and_then(bed: Bed, change: Callable[[], None]) -> Phone:
    """A phone that is admitted by a mail server that is another from its log-in on."""

    async def changes(conversation: Conversation, line: bytes) -> bool:
        bed.server.script = obliging
        change()
        return await obliging(conversation, line)

    bed.server.script = changes
    return await admitted(bed)


async def says_nothing(_conversation: Conversation, _line: bytes) -> bool:
    """Read, and leave it at that."""
    return False


def greets(bed: Bed, greeting: bytes) -> Callable[[], None]:
    """Return the change by which it greets so from then on."""
    return lambda: setattr(bed.server, "greeting", greeting)
