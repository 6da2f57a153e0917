"""In which language a person is told: the ones they read, their group's, the policy's, then English, then any."""

from collections.abc import Iterable, Iterator, Mapping

from gatekeeper.decision.policy import Policy
from gatekeeper.domain.decision import Message
from gatekeeper.domain.request import Request

_LAST_RESORT = "en"


def languages(policy: Policy, request: Request) -> tuple[str, ...]:
    """Tags, preferred first. Mail protocols do not say what a person reads, so mostly the group decides."""
    defaults = policy.defaults
    of_groups = [tag for group, tag in defaults.languages.items() if request.account in policy.groups.get(group, ())]
    return (*request.languages, *of_groups, defaults.language)


def in_language(messages: Mapping[str, Message], wanted: Iterable[str]) -> Message | None:
    """The text for the first tag that has one (RFC 4647 §3.4, lookup), else the English, else the first written."""
    by_tag = {tag.lower(): message for tag, message in messages.items()}
    for tag in (*wanted, _LAST_RESORT):
        for shorter in _shortened(tag.lower()):
            if shorter in by_tag:
                return by_tag[shorter]
    return next(iter(messages.values()), None)


def _shortened(tag: str) -> Iterator[str]:
    """`zh-hant-tw`, `zh-hant`, `zh`."""
    while tag:
        yield tag
        tag = tag.rpartition("-")[0]
