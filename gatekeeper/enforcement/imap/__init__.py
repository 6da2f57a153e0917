"""The IMAP enforcement point: what a phone is told before log-in, and in which words it is refused."""

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.flow.point import EnforcementPoint
from gatekeeper.enforcement.imap.dialogue import imap_dialogue
from gatekeeper.enforcement.imap.replies import RefusalCode, farewell
from gatekeeper.protocols.imap.client import ImapLogin

POINT = EnforcementPoint(
    protocol=MailProtocol.IMAP,
    new_dialogue=lambda settings: imap_dialogue(RefusalCode(settings.refusal_code), settings.limits),
    probe=lambda starttls: ImapLogin(None, name="", starttls=starttls, tag="p"),
    tells_address=("id", "proxy", "proxy-v2", "none"),
    last_words=farewell(Farewell.SHUTTING_DOWN),
)
