"""What `gatekeeper doctor` finds of the directory of groups: it answers, it knows us, it has the policy's groups."""

import time
from collections.abc import Iterator

from gatekeeper.adapters.groups.settings import LdapSettings, ScimSettings
from gatekeeper.cli.findings import Finding, State
from gatekeeper.config.settings import Settings
from gatekeeper.domain.document import DocumentError
from gatekeeper.ports.groups import DirectoryError
from gatekeeper.server.group_source import open_directory, places
from gatekeeper.server.policy_source import policy_in_force

_TEST = "directory"


def groups(settings: Settings) -> list[Finding]:
    """Ask as the gate does, for the groups of the policy in force."""
    try:
        policy = policy_in_force(settings)
    except DocumentError:
        return []  # told by another test
    wanted = places([policy])
    if settings.groups.asked is None:
        if wanted and settings.groups.file is None:
            advice = "name a source in [groups]: until then rules for them hold for everybody"
            return [Finding(_TEST, State.WARN, f"the policy takes {len(wanted)} groups from a directory", advice)]
        return []
    asked = settings.groups.asked
    findings = [*_secret(asked.directory)]
    directory = open_directory(asked.directory, settings.accounts.names)
    started = time.perf_counter()
    try:
        found = directory.ask(wanted, asked.timeout.total_seconds())
    except DirectoryError as error:
        advice = "is it running, and do `url`, `ca`, the name and the secret in [groups] fit it?"
        return [*findings, Finding(_TEST, State.FAIL, str(error), advice)]
    took_s = time.perf_counter() - started
    people = len(frozenset[str]().union(*found.members.values()))
    words = f"{directory.place}: answers in {took_s * 1e3:.0f} ms, {len(found.members)} groups with {people} people"
    findings.append(Finding(_TEST, State.OK, words))
    called = {place: name for name, place in policy.directory_groups.items()}
    for place, reason in sorted(found.unknown.items()):
        advice = (
            "rules for it hold for everybody, and it excepts nobody: correct its name in the policy, or the directory"
        )
        findings.append(
            Finding(_TEST, State.FAIL, f"group `{called[place]}` of the policy, `{place}`: {reason}", advice)
        )
    findings += [Finding(_TEST, State.WARN, f"group {note}") for note in found.notes]
    return findings


def _secret(directory: LdapSettings | ScimSettings) -> Iterator[Finding]:
    """Whoever reads it asks the directory in the gate's name."""
    path = directory.password_file if isinstance(directory, LdapSettings) else directory.token_file
    if path is not None and path.stat().st_mode & 0o007:
        yield Finding(_TEST, State.WARN, f"{path}: everybody on this machine can read it", f"chmod 640 {path}")
