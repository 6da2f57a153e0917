"""Phones that are on their way to log in when their connection to the mail server is made."""

from collections.abc import Awaitable, Callable

from testkit.flow_bed import Bed, Conversation, MailServer, Phone
from testkit.flow_talk import admitted


async def expected(bed: Bed, *, server: MailServer | None = None) -> tuple[Phone, Conversation]:
    """Somebody logs in; then a phone that may log in comes, and a connection is there for it."""
    server = server or bed.server
    await admitted(bed)
    before = len(server.conversations)
    client = await bed.greeted()
    await server.until(lambda: len(server.conversations) > before)
    return client, server.conversations[before]


async def heard(bed: Bed, said: bytes) -> None:
    """Return when so much was received on the connection that is there."""
    (ahead,) = bed.front.preconnect._waiting.owners()
    await bed.comes_true(lambda: ahead._greeting == said)


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


async def says_nothing(_conversation: Conversation, _line: bytes) -> bool:
    """Read, and leave it at that."""
    return False


async def hangs_up(conversation: Conversation, _line: bytes) -> bool:
    """Close."""
    conversation.writer.close()
    return False
