"""What a SASL response must look like, and which of three faults it has when it does not."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.domain.secret import Secret
from gatekeeper.protocols.sasl.mechanisms import (
    MAX_NAME_OCTETS,
    MAX_PASSWORD_OCTETS,
    Credentials,
    Mechanism,
    Problem,
    SaslError,
    decode_base64,
    parse_bearer,
    parse_plain,
    parse_response,
    password_credentials,
    plain_response,
    upstream_response,
)


def credentials(mechanism: Mechanism, name: str, secret: bytes) -> Credentials:
    return Credentials(mechanism=mechanism, name=name, secret=Secret(secret))


def opened(found: Credentials) -> tuple[Mechanism, str, bytes]:
    return found.mechanism, found.name, found.secret.declassify()


@pytest.mark.parametrize(
    ("line", "decoded"),
    [(b"", b""), (b"=", b""), (b"AGE=", b"\0a"), (b"AP/+", b"\0\xff\xfe")],
    ids=["empty", "I52-equals-sign", "padded", "whole-alphabet"],
)
def test_base64_is_decoded(line: bytes, decoded: bytes) -> None:
    """`=` alone is an empty response."""
    assert decode_base64(line) == decoded


@pytest.mark.parametrize(
    "line",
    [
        b"!!!!",
        b"AGE",
        b"A",
        b"AGE=AGE=",
        b"AGE==",
        b"AGFi====",
        b"AGFi=",
        b"==",
        b"AG E=",
        b"AGE=\n",
        b"AP_-",
        b"=AGE",
        b"\xff\xff\xff\xff",
    ],
    ids=[
        "I53",
        "I55-no-padding",
        "one",
        "after-padding",
        "more-padding",
        "padding-of-nothing",
        "one-of-nothing",
        "padding-alone",
        "space",
        "line-end",
        "url-safe",
        "padding-first",
        "8-bit",
    ],
)
def test_base64_is_strict(line: bytes) -> None:
    """Whatever RFC 4648 §4 does not allow is malformed."""
    with pytest.raises(SaslError) as caught:
        decode_base64(line)
    assert caught.value.problem is Problem.MALFORMED


PLAIN = {
    "no-authzid": (b"\0alice\0wonderland", "alice", b"wonderland"),
    "I58": (b"alice\0alice\0wonderland", "alice", b"wonderland"),
    "I58-case": (b"Alice\0aLICE\0w", "aLICE", b"w"),
    "utf-8": ("\0j\xfcrgen\0p\xe4ss".encode(), "j\xfcrgen", "p\xe4ss".encode()),
    "longest": (
        b"\0" + b"n" * MAX_NAME_OCTETS + b"\0" + b"p" * MAX_PASSWORD_OCTETS,
        "n" * MAX_NAME_OCTETS,
        b"p" * MAX_PASSWORD_OCTETS,
    ),
    "password-of-any-octets": (b"\0alice\0\x01\x7f\xff ", "alice", b"\x01\x7f\xff "),
}


@pytest.mark.parametrize(("response", "name", "password"), PLAIN.values(), ids=PLAIN)
def test_plain(response: bytes, name: str, password: bytes) -> None:
    """A good PLAIN response gives a name and a password."""
    assert opened(parse_plain(response)) == (Mechanism.PLAIN, name, password)


BAD_PLAIN = {
    "I57-control": (b"bob\r\0alice\0w", Problem.AUTHZID),
    "I57-long": (b"n" * (MAX_NAME_OCTETS + 1) + b"\0alice\0w", Problem.AUTHZID),
    "I60": (b"alice", Problem.REFUSED),
    "I60-two-parts": (b"alice\0w", Problem.REFUSED),
    "I60-four-parts": (b"\0alice\0w\0x", Problem.REFUSED),
    "empty": (b"", Problem.REFUSED),
    "no-name": (b"\0\0w", Problem.REFUSED),
    "no-password": (b"\0alice\0", Problem.REFUSED),
    "I62-name": (b"\0alice\r\nb NOOP\0pw", Problem.REFUSED),
    "I62-delete": (b"\0alice\x7f\0pw", Problem.REFUSED),
    "I62-password-cr": (b"\0alice\0p\rw", Problem.REFUSED),
    "I62-password-lf": (b"\0alice\0p\nw", Problem.REFUSED),
    "I63": (b"\0\xff\xfe\0pw", Problem.REFUSED),
    "I63-authzid": (b"\xff\0alice\0pw", Problem.REFUSED),
    "long-name": (b"\0" + b"n" * (MAX_NAME_OCTETS + 1) + b"\0p", Problem.REFUSED),
    "long-password": (b"\0alice\0" + b"p" * (MAX_PASSWORD_OCTETS + 1), Problem.REFUSED),
}


@pytest.mark.parametrize(("response", "problem"), BAD_PLAIN.values(), ids=BAD_PLAIN)
def test_bad_plain(response: bytes, problem: Problem) -> None:
    """A bad PLAIN response is refused for its reason, and its octets are in no message."""
    with pytest.raises(SaslError) as caught:
        parse_plain(response)
    assert (caught.value.problem, str(caught.value)) == (problem, problem.value)


@pytest.mark.parametrize(
    ("response", "authzid"),
    [
        (b"bob\0alice\0w", "bob"),
        (b"alice\0admin\0w", "alice"),
        (b"Alice\0alice\0w", "Alice"),
        (b"\0alice\0w", ""),
    ],
    ids=["I57", "I57-master-user", "I58", "none"],
)
def test_whose_mailbox_is_asked_for_is_never_dropped(response: bytes, authzid: str) -> None:
    """The authorization identity is handed on as it was written: who may have it is not decided here."""
    assert parse_plain(response).authzid == authzid


@pytest.mark.parametrize(
    ("response", "authzid"), [(b"", ""), (b"alice@example.com", "alice@example.com"), ("j\xfc".encode(), "j\xfc")]
)
def test_external_is_nothing_but_a_wish(response: bytes, authzid: str) -> None:
    """E01: no name and no secret, whatever the client writes."""
    found = parse_response(Mechanism.EXTERNAL, response)
    assert opened(found) == (Mechanism.EXTERNAL, "", b"")
    assert found.authzid == authzid
    assert not Mechanism.EXTERNAL.is_bearer


@pytest.mark.parametrize("response", [b"alice\0", b"a\r\nb", b"\x7f", b"n" * (MAX_NAME_OCTETS + 1), b"\xff"])
def test_bad_external(response: bytes) -> None:
    """What cannot be a name is refused."""
    with pytest.raises(SaslError):
        parse_response(Mechanism.EXTERNAL, response)


def test_a_response_is_read_as_its_mechanism_says() -> None:
    """One dispatch for every front."""
    for mechanism, response in BEARER.values():
        assert parse_response(mechanism, response).mechanism is mechanism
    assert opened(parse_response(Mechanism.PLAIN, b"\0alice\0w")) == (Mechanism.PLAIN, "alice", b"w")


def test_the_password_of_a_login_may_not_have_a_nul() -> None:
    """LOGIN has no separators that would have caught it."""
    with pytest.raises(SaslError) as caught:
        password_credentials(Mechanism.LOGIN, b"alice", b"p\0w")
    assert caught.value.problem is Problem.REFUSED


BEARER = {
    "O01": (Mechanism.XOAUTH2, b"user=alice\x01auth=Bearer t\x01\x01"),
    "O01-scheme-in-lower-case": (Mechanism.XOAUTH2, b"user=alice\x01auth=bearer t\x01\x01"),
    "O01-another-key": (Mechanism.XOAUTH2, b"user=alice\x01x=y\x01auth=Bearer t\x01\x01"),
    "O09": (Mechanism.OAUTHBEARER, b"n,a=alice,\x01host=h\x01port=993\x01auth=Bearer t\x01\x01"),
    "O09-y": (Mechanism.OAUTHBEARER, b"y,a=alice,\x01auth=Bearer t\x01\x01"),
}


@pytest.mark.parametrize(("mechanism", "response"), BEARER.values(), ids=BEARER)
def test_bearer(mechanism: Mechanism, response: bytes) -> None:
    """A good bearer response names its user, and goes upstream as it came."""
    assert mechanism.is_bearer
    assert opened(parse_bearer(mechanism, response)) == (mechanism, "alice", response)


def test_only_comma_and_equals_sign_are_escaped_in_gs2() -> None:
    """RFC 5801 §4, each escape decoded once."""
    found = parse_bearer(Mechanism.OAUTHBEARER, b"n,a=a=2Cb=3D2C,\x01auth=Bearer t\x01\x01")
    assert found.name == "a,b=2C"


XO, OB = Mechanism.XOAUTH2, Mechanism.OAUTHBEARER
BAD_BEARER = {
    "O02": (XO, b"user=alice\x01auth=Bearer t\x01", Problem.MALFORMED),
    "O04-auth": (XO, b"user=alice\x01auth=Bearer t1\x01auth=Bearer t2\x01\x01", Problem.MALFORMED),
    "O04-user": (XO, b"user=alice\x01user=bob\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-oauthbearer": (OB, b"n,a=alice,\x01auth=Bearer t\x01auth=Bearer u\x01\x01", Problem.MALFORMED),
    "O04-other-case": (XO, b"user=alice\x01User=bob\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-other-case-alone": (XO, b"USER=alice\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-space": (XO, b"user=alice\x01user =bob\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-header-in-xoauth2": (XO, b"user=alice\x01n,a=bob,\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-a-in-xoauth2": (XO, b"user=alice\x01a=bob\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-second-header": (OB, b"n,a=alice,\x01n,a=bob,\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-user-in-oauthbearer": (OB, b"n,a=alice,\x01user=bob\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O04-nul": (XO, b"user=alice\x01auth=Bearer t\0\x01x=y\x01\x01", Problem.MALFORMED),
    "no-user": (XO, b"auth=Bearer t\x01\x01", Problem.REFUSED),
    "empty-user": (XO, b"user=\x01auth=Bearer t\x01\x01", Problem.REFUSED),
    "no-auth": (XO, b"user=alice\x01\x01", Problem.MALFORMED),
    "basic": (XO, b"user=alice\x01auth=Basic t\x01\x01", Problem.MALFORMED),
    "no-pair": (XO, b"user=alice\x01auth\x01\x01", Problem.MALFORMED),
    "control-in-name": (XO, b"user=al\nice\x01auth=Bearer t\x01\x01", Problem.REFUSED),
    "8-bit-name": (XO, b"user=\xff\x01auth=Bearer t\x01\x01", Problem.REFUSED),
    "long-name": (XO, b"user=" + b"n" * (MAX_NAME_OCTETS + 1) + b"\x01auth=Bearer t\x01\x01", Problem.REFUSED),
    "empty": (XO, b"", Problem.MALFORMED),
    "O10-channel-binding": (OB, b"p=tls-unique,,\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O10-escape": (OB, b"n,a=ali=41ce,\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O10-nested-escape": (OB, b"n,a==2=2CC,\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O10-no-comma": (OB, b"n,a=alice\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O10-no-header": (OB, b"n,a=alice,", Problem.MALFORMED),
    "O10-more-header": (OB, b"n,a=alice,x\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O10-not-authzid": (OB, b"n,alice,\x01auth=Bearer t\x01\x01", Problem.MALFORMED),
    "O11": (OB, b"n,,\x01auth=Bearer t\x01\x01", Problem.REFUSED),
    "O11-empty": (OB, b"n,a=,\x01auth=Bearer t\x01\x01", Problem.REFUSED),
}


@pytest.mark.parametrize(("mechanism", "response", "problem"), BAD_BEARER.values(), ids=BAD_BEARER)
def test_bad_bearer(mechanism: Mechanism, response: bytes, problem: Problem) -> None:
    """A bad bearer response is refused for its reason."""
    with pytest.raises(SaslError) as caught:
        parse_bearer(mechanism, response)
    assert caught.value.problem is problem


NAMES = st.text("abcXYZ019=,@.+-_\\/%*'", min_size=1, max_size=80)


@given(account=NAMES, name=NAMES, password=st.binary(min_size=1, max_size=50))
def test_the_mail_server_hears_the_account_that_policy_saw(account: str, name: str, password: bytes) -> None:
    """Whatever the client wrote, and by whatever mechanism: what goes upstream parses to the account and its proof."""
    secret = bytes(octet for octet in password if octet not in b"\0\r\n") or b"w"
    plain = parse_plain(decode_base64(upstream_response(credentials(Mechanism.PLAIN, name, secret), account)))
    assert opened(plain) == (Mechanism.PLAIN, account, secret)

    acting = replace(credentials(Mechanism.PLAIN, name, secret), authzid="x")
    both = parse_plain(decode_base64(upstream_response(acting, account)))
    assert (both.authzid, both.name, both.secret.declassify()) == (account, name, secret)

    escaped = name.replace("=", "=3D").replace(",", "=2C").encode()
    for written in (
        parse_bearer(XO, b"x=y\x01user=" + name.encode() + b"\x01auth=Bearer t\x01\x01"),
        parse_bearer(OB, b"n,a=" + escaped + b",\x01host=h\x01auth=Bearer t\x01\x01"),
    ):
        heard = parse_bearer(written.mechanism, decode_base64(upstream_response(written, account)))
        assert heard.name == account
        assert b"auth=Bearer t" in heard.secret.declassify()
        assert decode_base64(upstream_response(written, name)) == written.secret.declassify()


def test_what_we_send_upstream_is_plain_without_authzid() -> None:
    """RFC 4616 §2."""
    assert plain_response("alice", b"w", authzid="bob") == base64.b64encode(b"bob\0alice\0w")
    assert plain_response("alice", b"wonderland") == b"AGFsaWNlAHdvbmRlcmxhbmQ="
    assert opened(parse_plain(decode_base64(plain_response("alice", b"w")))) == (Mechanism.PLAIN, "alice", b"w")


def test_credentials_do_not_show_their_secret() -> None:
    """Neither in a repr nor in a message."""
    assert "wonderland" not in repr(credentials(Mechanism.PLAIN, "alice", b"wonderland"))
