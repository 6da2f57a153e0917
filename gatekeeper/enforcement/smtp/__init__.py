"""The SMTP submission enforcement point: aiosmtpd's `SMTP` up to AUTH, then the relay."""

from gatekeeper.domain.request import MailProtocol
from gatekeeper.enforcement.flow.dialogue import Farewell
from gatekeeper.enforcement.flow.point import EnforcementPoint
from gatekeeper.enforcement.smtp.dialogue import smtp_dialogue
from gatekeeper.enforcement.smtp.replies import farewell
from gatekeeper.protocols.smtp.client import SmtpLogin

POINT = EnforcementPoint(
    protocol=MailProtocol.SMTP,
    new_dialogue=lambda settings: smtp_dialogue(
        settings.hostname, settings.loop, forbids_second_login=True, limits=settings.limits
    ),
    probe=lambda starttls: SmtpLogin(None, starttls=starttls, ehlo_name="localhost"),
    tells_address=("xclient", "proxy", "proxy-v2", "none"),
    last_words=farewell(Farewell.SHUTTING_DOWN),
)
