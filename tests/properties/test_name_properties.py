"""Names make the round trip: what a mail server parses is the account that policy saw, whatever the client wrote."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.delegation import Delegation
from gatekeeper.domain.identity import SEPARATORS, Case, IdentitySettings, Plus
from gatekeeper.domain.secret import Secret
from gatekeeper.enforcement.flow.account import AccountSettings, NotAllowed, opening
from gatekeeper.protocols.imap.client import ImapLogin
from gatekeeper.protocols.imap.server import NEED_DATA, Command, LiteralExpected, Receiver
from gatekeeper.protocols.login import NEED_DATA as NO_STEP
from gatekeeper.protocols.login import Failed, Send
from gatekeeper.protocols.sasl.mechanisms import Credentials, Mechanism, decode_base64, parse_plain
from gatekeeper.protocols.smtp.client import SmtpLogin

ANYBODY = tuple(Delegation(authcid=anybody, authzid=anybody, reason="any") for anybody in ("*", "*@example.com"))
WRITTEN = st.one_of(
    st.text("abB1.+", min_size=1, max_size=6),
    st.text(max_size=20),
    st.text("aBob1.+*%/\\@'=~", min_size=1, max_size=16),
)
SETTINGS = st.builds(
    AccountSettings,
    names=st.builds(
        IdentitySettings,
        case=st.sampled_from(Case),
        default_domain=st.sampled_from(["", "example.com"]),
        refused_separators=st.sets(st.sampled_from(SEPARATORS)).map("".join),
        plus=st.sampled_from(Plus),
    ),
    delegations=st.sampled_from([(), ANYBODY]),
)
PASSWORDS = st.binary(min_size=1, max_size=20).map(
    lambda octets: bytes(one for one in octets if one not in b"\0\r\n") or b"w"
)
OFFERS = st.sampled_from([b"AUTH=PLAIN SASL-IR", b"AUTH=PLAIN", b"IMAP4rev1"])


@given(name=WRITTEN, authzid=st.just("") | WRITTEN, password=PASSWORDS, settings=SETTINGS, offers=OFFERS)
def test_imap_opens_the_account_that_policy_sees(
    name: str, authzid: str, password: bytes, settings: AccountSettings, offers: bytes
) -> None:
    """By LOGIN with quoted strings or literals, and by AUTHENTICATE with its response at once or later."""
    credentials = Credentials(mechanism=Mechanism.PLAIN, name=name, secret=Secret(password), authzid=authzid)
    found = opening(settings, credentials, None, None)
    if isinstance(found, NotAllowed):
        return
    client = ImapLogin(found.credentials, name=found.account, starttls=False, tag="T")
    client.receive_data(b"* OK [CAPABILITY " + offers + b"] hi\r\n")
    heard = _heard_by_imap(client)
    if heard is None:
        assert found.account != found.authcid  # LOGIN has no room for two names
        return
    assert heard == (found.account, found.authcid, password)


def _heard_by_imap(client: ImapLogin) -> tuple[str, str, bytes] | None:
    """Account, who logs in and password, as a strict server reads them; None: there was no log-in."""
    server = Receiver()
    while True:
        step = client.next_step()
        if isinstance(step, Failed):
            return None
        assert isinstance(step, Send) or step is NO_STEP
        if isinstance(step, Send):
            server.receive_data(step.data)
        event = server.next_event()
        if isinstance(event, LiteralExpected):
            client.receive_data(b"+ go on\r\n")
            continue
        if event is NEED_DATA:
            client.receive_data(b"+ \r\n")
            continue
        assert isinstance(event, Command), event
        if event.name == b"LOGIN":
            name, password = event.arguments
            assert isinstance(name, bytes)
            assert isinstance(password, bytes)
            return name.decode(), name.decode(), password
        mechanism, *response = event.arguments
        assert mechanism == b"PLAIN"
        if not response:
            client.receive_data(b"+ \r\n")
            step = client.next_step()
            assert isinstance(step, Send)
            response = [step.data.removesuffix(b"\r\n")]
        assert isinstance(response[0], bytes)
        return _plain(response[0])


@given(
    name=WRITTEN,
    authzid=st.just("") | WRITTEN,
    password=PASSWORDS,
    settings=SETTINGS,
    offer=st.sampled_from([b"PLAIN", b"LOGIN"]),
)
def test_smtp_opens_the_account_that_policy_sees(
    name: str, authzid: str, password: bytes, settings: AccountSettings, offer: bytes
) -> None:
    """By AUTH PLAIN, and by AUTH LOGIN where that is all there is."""
    credentials = Credentials(mechanism=Mechanism.PLAIN, name=name, secret=Secret(password), authzid=authzid)
    found = opening(settings, credentials, None, None)
    if isinstance(found, NotAllowed):
        return
    client = SmtpLogin(found.credentials, name=found.account, starttls=False, ehlo_name="x")
    client.receive_data(b"220 hi\r\n")
    assert client.next_step() == Send(b"EHLO x\r\n")
    client.receive_data(b"250-hi\r\n250 AUTH " + offer + b"\r\n")
    step = client.next_step()
    if isinstance(step, Failed):
        assert offer == b"LOGIN"
        assert found.account != found.authcid
        return
    assert isinstance(step, Send)
    if offer == b"PLAIN":
        assert _plain(step.data.removesuffix(b"\r\n").removeprefix(b"AUTH PLAIN ")) == (
            found.account,
            found.authcid,
            password,
        )
        return
    assert found.account == found.authcid
    parts = []
    for _ in range(2):
        client.receive_data(b"334 x\r\n")
        step = client.next_step()
        assert isinstance(step, Send)
        parts.append(base64.b64decode(step.data))
    assert parts == [found.account.encode(), password]


def _plain(response: bytes) -> tuple[str, str, bytes]:
    heard = parse_plain(decode_base64(response))
    return heard.authzid or heard.name, heard.name, heard.secret.declassify()
