"""The sentences around a policy's own texts, in the languages that they exist in.

A text of the policy decides the language: a German text is never followed by an English sentence where there is a
German one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType
from zoneinfo import ZoneInfo

from gatekeeper.domain.device import Device, Ownership

LAST_RESORT = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """One language."""

    goes_through: str
    about: str
    """`{owner}`, `{platform}`, `{device}`."""
    owners: Mapping[Ownership | None, str]
    paused_from: str
    """`{when}`."""
    do_before: str
    """`{when}`."""
    date: str
    """For `strftime`; with the name of the time zone."""

    def device(self, device: Device) -> str:
        """Which of several devices it is about."""
        owner = self.owners[device.ownership]
        return self.about.format(owner=owner, platform=device.platform.value, device=device.device_id)

    def at(self, instant: datetime, zone: tzinfo | None) -> str:
        """An instant in the person's time zone; without one in its own, if that has a name, else in UTC."""
        local = in_zone(instant, zone)
        return local.strftime(self.date.replace("{day}", str(local.day)))


def in_zone(instant: datetime, zone: tzinfo | None) -> datetime:
    """The same instant in the person's time zone; without one in its own, if that has a name, else in UTC."""
    return instant.astimezone(zone or (instant.tzinfo if isinstance(instant.tzinfo, ZoneInfo) else UTC))


def _owners(company: str, personal: str, registered: str) -> Mapping[Ownership | None, str]:
    return MappingProxyType({Ownership.COMPANY: company, Ownership.PERSONAL: personal, None: registered})


PHRASES: Mapping[str, Phrases] = MappingProxyType(
    {
        "en": Phrases(
            goes_through="Your mail goes through.",
            about="This is about your {owner} {platform} device {device}.",
            owners=_owners("company", "personal", "registered"),
            paused_from="From {when} on your mail is paused unless that is done.",
            do_before="Do it before {when}: then it is looked at again.",
            date="%A, {day} %B %Y, %H:%M %Z",
        ),
        "de": Phrases(
            goes_through="Mit Ihrer E-Mail ist alles in Ordnung.",
            about="Es geht um Ihr {owner} Gerät {device} ({platform}).",
            owners=_owners("dienstliches", "privates", "registriertes"),
            paused_from="Ab dem {when} ist Ihre E-Mail gesperrt, wenn das bis dahin nicht erledigt ist.",
            do_before="Erledigen Sie das vor dem {when}: Dann wird erneut geprüft.",
            date="%d.%m.%Y, %H:%M Uhr (%Z)",
        ),
        "fr": Phrases(
            goes_through="Votre messagerie fonctionne.",
            about="Il s'agit de votre appareil {owner} {device} ({platform}).",
            owners=_owners("professionnel", "personnel", "enregistré"),
            paused_from="À partir du {when}, votre messagerie sera suspendue si ce n'est pas fait.",
            do_before="Faites-le avant le {when} : la situation sera alors réexaminée.",
            date="%d/%m/%Y à %H:%M (%Z)",
        ),
        "es": Phrases(
            goes_through="Su correo funciona.",
            about="Se trata de su dispositivo {owner} {device} ({platform}).",
            owners=_owners("de empresa", "personal", "registrado"),
            paused_from="A partir del {when}, su correo quedará en pausa si no lo ha hecho.",
            do_before="Hágalo antes del {when}: entonces se volverá a comprobar.",
            date="%d/%m/%Y, %H:%M (%Z)",
        ),
        "it": Phrases(
            goes_through="La sua posta funziona.",
            about="Si tratta del suo dispositivo {owner} {device} ({platform}).",
            owners=_owners("aziendale", "personale", "registrato"),
            paused_from="Dal {when} la sua posta sarà sospesa se non lo avrà fatto.",
            do_before="Lo faccia prima del {when}: allora si verificherà di nuovo.",
            date="%d/%m/%Y alle %H:%M (%Z)",
        ),
    }
)


def phrases_in(wanted: Iterable[str]) -> tuple[str, Phrases]:
    """The first of these languages (RFC 5646 tags) that there is, by its primary subtag; else English."""
    primary = (tag.partition("-")[0].lower() for tag in wanted)
    found = next((tag for tag in primary if tag in PHRASES), LAST_RESORT)
    return found, PHRASES[found]
