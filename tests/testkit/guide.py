"""The guide to policies as a program reads it: its quotations of files, and its sessions at the command line.

In the guide a fenced block of the kind `toml` after a line that links to a file of `config/examples` quotes that file,
and one of the kind `console` is a session: `$ ` before each command, what it prints below, `…` for what differs from
time to time. A session that needs a running gate has a name: `console gate publish`.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from gatekeeper.cli.main import cli

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "policy.md"
EXAMPLES = ROOT / "config" / "examples"

GATE_SESSIONS = frozenset({"publish", "watch", "file", "roll-back", "put-back", "break-glass"})
"""Those that the end-to-end tests perform."""

SAFE = "/media/safe"
"""Where the guide has the key that is kept offline; the tests have it at home."""

_PASSPHRASE = re.compile(r"Passphrase of \S+: \n?")
_LINK = re.compile(r"\((\.\./config/examples/[a-z0-9-]+\.toml)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    kind: str
    """What stands behind the fence: `toml`, `console gate publish`."""
    before: str
    """The last line of text before it."""
    text: str
    line: int

    @property
    def quoted(self) -> Path | None:
        """The example that it quotes."""
        found = _LINK.search(self.before)
        return None if found is None or self.kind != "toml" else (GUIDE.parent / found[1]).resolve()

    @property
    def gate_session(self) -> str | None:
        """The name of a session that needs a running gate."""
        words = self.kind.split()
        return words[2] if words[:2] == ["console", "gate"] else None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A command of a session, and what the guide says that it prints."""

    command: str
    printed: str

    def allows(self, printed: str) -> bool:
        """Whether that is what the guide says; `…` stands for anything, the leftmost place of what follows counts."""
        first, *others = (part.strip("\n") for part in self.printed.split("…"))
        text = printed.strip("\n")
        if not others:
            return text == first
        if not text.startswith(first):
            return False
        *middle, last = others
        place = len(first)
        for part in middle:
            found = text.find(part, place)
            if found < 0:
                return False
            place = found + len(part)
        return len(text) - len(last) >= place and text.endswith(last)


def blocks() -> list[Block]:
    """Every fenced block of the guide."""
    found: list[Block] = []
    before, kind, lines, begin = "", None, list[str](), 0
    for number, line in enumerate(GUIDE.read_text().splitlines(), start=1):
        if not line.startswith("```"):
            if kind is not None:
                lines.append(line)
            elif line.strip():
                before = line
        elif kind is None:
            kind, lines, begin = line.removeprefix("```"), [], number
        else:
            found.append(Block(kind, before, "".join(f"{each}\n" for each in lines), begin))
            kind = None
    return found


def gate_session(name: str) -> list[Exchange]:
    """The session of that name."""
    return [exchange for block in blocks() if block.gate_session == name for exchange in exchanges(block)]


def exchanges(block: Block) -> Iterator[Exchange]:
    """What is typed and printed in a session."""
    for part in re.split(r"(?m)^\$ ", block.text)[1:]:
        command, _, printed = part.replace("\\\n", "").partition("\n")
        yield Exchange(" ".join(command.split()), printed)


def perform(exchange: Exchange, typed: str = "") -> str:
    """Do what a shell would do in this directory, in this process; return what was printed, which the guide says.

    `typed` answers the questions, first those for passphrases; the questions for those are not in the guide.
    """
    words = [
        str(Path(word.replace(SAFE, "~")).expanduser()) if word.startswith(("~", SAFE)) else word
        for word in shlex.split(exchange.command)
    ]
    if words[0] == "gatekeeper":
        printed = _PASSPHRASE.sub("", CliRunner().invoke(cli, words[1:], input=typed).output)
    else:
        printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert exchange.allows(printed), f"{exchange.command}\n{printed}"
    return printed
