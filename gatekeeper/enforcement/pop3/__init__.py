"""The POP3 enforcement point: what a phone is told before log-in, and in which words it is refused."""

from functools import partial

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.flow.point import EnforcementPoint
from gatekeeper.enforcement.pop3.dialogue import Pop3Dialogue
from gatekeeper.enforcement.pop3.replies import farewell
from gatekeeper.protocols.pop3.client import Pop3Login

POINT = EnforcementPoint(
    protocol=MailProtocol.POP3,
    new_dialogue=lambda settings: partial(Pop3Dialogue, limits=settings.limits),
    probe=lambda starttls: Pop3Login(None, starttls=starttls),
    tells_address=("xclient", "proxy", "proxy-v2", "none"),
    last_words=farewell(Farewell.SHUTTING_DOWN),
)
