"""`[defaults]`: what happens to a device of which something is not known. What is not said is the safe choice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from gatekeeper.domain.decision import Verdict
from gatekeeper.domain.device import DeviceClass, Ownership
from gatekeeper.domain.request import MailProtocol


def strictest(verdicts: Iterable[Verdict]) -> Verdict:
    """The strongest of some verdicts; `allow` of none."""
    return max(verdicts, key=lambda verdict: verdict.strength, default=Verdict.ALLOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownDevice:
    """What happens to a device that is not registered; an entry for a protocol or class stands in for `default`."""

    default: Verdict = Verdict.BLOCK
    by_protocol: Mapping[MailProtocol, Verdict] = field(default_factory=lambda: MappingProxyType({}))
    by_class: Mapping[DeviceClass, Verdict] = field(default_factory=lambda: MappingProxyType({}))

    def action(self, protocol: MailProtocol, device_class: DeviceClass | None = None) -> Verdict:
        """The strictest entry that can apply; of an unregistered device the class is not known, so any can."""
        classes = (device_class,) if device_class else tuple(DeviceClass)
        return strictest(self._of(protocol, each) for each in classes)

    def _of(self, protocol: MailProtocol, device_class: DeviceClass) -> Verdict:
        entries = [self.by_protocol.get(protocol), self.by_class.get(device_class)]
        given = [entry for entry in entries if entry is not None]
        return strictest(given) if given else self.default


@dataclass(frozen=True, slots=True, kw_only=True)
class ByOwnership:
    """One action for company devices, one for personal ones."""

    company: Verdict = Verdict.BLOCK
    personal: Verdict = Verdict.BLOCK

    def action(self, ownership: Ownership | None) -> Verdict:
        """Unknown ownership takes the stricter of the two."""
        if ownership is Ownership.COMPANY:
            return self.company
        if ownership is Ownership.PERSONAL:
            return self.personal
        return strictest((self.company, self.personal))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """What happens when evidence is older than `evidence_max_age`: `action`, and `after` that long `then`."""

    action: Verdict = Verdict.BLOCK
    then: Verdict = Verdict.BLOCK
    """Not weaker than `action`."""
    after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """One for each kind of ignorance."""

    unknown_device: UnknownDevice = field(default_factory=UnknownDevice)
    evidence_max_age: timedelta = timedelta(hours=24)
    stale: Stale = field(default_factory=Stale)
    insufficient: ByOwnership = field(default_factory=ByOwnership)
    no_evidence: ByOwnership | None = None
    """For registered devices that never sent evidence; None: the stricter of `unknown_device` and `insufficient`,
    since less is known than of either."""
    language: str = "en"
    """Of the texts for a person whose languages are not known, or have no text."""
    languages: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Group -> language of its members; the first group that fits counts."""
