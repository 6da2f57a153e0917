"""The ManageSieve enforcement point: what a client is told before log-in, and in which words it is refused."""

from functools import partial

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.flow.point import EnforcementPoint
from gatekeeper.enforcement.sieve.dialogue import SieveDialogue
from gatekeeper.enforcement.sieve.replies import farewell
from gatekeeper.protocols.sieve.client import SieveLogin

POINT = EnforcementPoint(
    protocol=MailProtocol.SIEVE,
    new_dialogue=lambda settings: partial(SieveDialogue, limits=settings.limits),
    probe=lambda starttls: SieveLogin(None, name="", starttls=starttls),
    tells_address=("xclient", "proxy", "proxy-v2", "none"),
    alpn="managesieve",
    last_words=farewell(Farewell.SHUTTING_DOWN),
)
