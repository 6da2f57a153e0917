"""Known attacks and oddities before an IMAP log-in: the octets a client sends, all that it gets, what goes further.

One table for two places: fed to the dialogue by hand at every split, and sent over a socket to a running gate. The ids
are those of the collection of attack vectors; what follows the number names a neighbour of the row.
"""

import base64
from dataclasses import dataclass, field

from gatekeeper.enforcement.imap.dialogue import MAX_COMMANDS, ImapDialogue
from gatekeeper.protocols.imap.server import MAX_ID_OCTETS, MAX_LINE_OCTETS
from gatekeeper.protocols.login import Rejected
from gatekeeper.protocols.sasl.mechanisms import MAX_RESPONSE_OCTETS
from testkit.gate_fakes import Outcome, fault, refuse, reject

BAD = b"BAD Not understood, or not allowed before logging in.\r\n"
A_BAD = b"a " + BAD
UNTAGGED_BAD = b"* " + BAD
WRONG = b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
BAD_RESPONSE = b"a BAD Not a valid response.\r\n"
NOT_ANOTHER = b"a NO [AUTHORIZATIONFAILED] Acting as another user is not allowed.\r\n"
CANCELLED = b"a BAD Cancelled.\r\n"
NEEDS_TLS = b"a NO [PRIVACYREQUIRED] Start TLS before logging in.\r\n"
NOT_OFFERED = b"a NO [CANNOT] This mechanism is not offered.\r\n"
BYE = b"* BYE Too many errors.\r\n"
GO_ON = b"+ OK\r\n"
OK = b"a OK Logged in\r\n"
B_NOOP = b"b OK Done.\r\n"
IDENTIFIED = b"* ID NIL\r\na OK Done.\r\n"

ALICE = ("LOGIN", "alice", b"wonderland")
ALICE_PLAIN = ("PLAIN", "alice", b"wonderland")
OFFERS = frozenset({"AUTH=PLAIN", "AUTH=XOAUTH2", "AUTH=OAUTHBEARER"})
XOAUTH2 = b"user=alice\x01auth=Bearer t\x01\x01"
OAUTHBEARER = b"n,a=alice,\x01host=h\x01port=993\x01auth=Bearer t\x01\x01"


def base64_of(response: bytes) -> bytes:
    """Return the base64 of a response."""
    return base64.b64encode(response)


def plain(response: bytes) -> bytes:
    """Return AUTHENTICATE PLAIN with an initial response."""
    return b"a AUTHENTICATE PLAIN " + base64_of(response) + b"\r\n"


def bearer(mechanism: bytes, response: bytes) -> bytes:
    """Return AUTHENTICATE with a token."""
    return b"a AUTHENTICATE " + mechanism + b" " + base64_of(response) + b"\r\n"


@dataclass(frozen=True)
class Row:
    """One vector."""

    id: str
    sent: bytes
    told: bytes
    logins: list[tuple[str, str, bytes]] = field(default_factory=list)
    upstream: bytes = b""
    closed: bool = False
    outcomes: tuple[Outcome, ...] = ()
    in_the_clear: bool = False
    exposed: list[str] = field(default_factory=list)


def bearer_rejected(dialogue: object) -> None:
    """A token is refused with the mechanism's own error first."""
    assert isinstance(dialogue, ImapDialogue)
    dialogue.rejected(Rejected(None, "no", is_temporary=False, challenge=b"eyJzdGF0dXMiOiI0MDEifQ=="))


LOGINS = [
    Row("I01", b"a LOGIN alice wonderland\r\n", OK, [ALICE]),
    Row("I02", rb'a LOGIN "bob" "p\\\"w"' + b"\r\n", OK, [("LOGIN", "bob", b'p\\"w')]),
    Row("I02-other-escape", rb'a LOGIN "bob" "p\nw"' + b"\r\n", A_BAD),
    Row("I03", b"a LOGIN {5}\r\nalice {10}\r\nwonderland\r\n", GO_ON * 2 + OK, [ALICE]),
    Row("I03-backslash", b"a LOGIN alice {3}\r\n\\\\n\r\n", GO_ON + OK, [("LOGIN", "alice", b"\\\\n")]),
    Row("I04", b"a LOGIN {5+}\r\nalice {10+}\r\nwonderland\r\n", OK, [ALICE]),
    Row("I06", b"a AUTHENTICATE PLAIN\r\nAGFsaWNlAHdvbmRlcmxhbmQ=\r\n", b"+ \r\n" + OK, [ALICE_PLAIN]),
    Row("I07", b"a AUTHENTICATE PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\n", OK, [ALICE_PLAIN]),
    Row("I08", b"a LoGiN alice wonderland\r\n", OK, [ALICE]),
    Row("I08-tag", b"A noop\r\na NOOP\r\n", b"A OK Done.\r\na OK Done.\r\n"),
    Row(
        "I09",
        b'a LOGIN "j\xc3\xbcrgen" "p\xc3\xa4ss"\r\n',
        OK,
        [("LOGIN", "j\xfcrgen", b"p\xc3\xa4ss")],
    ),
    Row("I09-password-in-latin-1", b'a LOGIN bob "p\xe4ss"\r\n', OK, [("LOGIN", "bob", b"p\xe4ss")]),
    Row("I39", b"a LOGIN alice wonderland \r\n", OK, [ALICE]),
    Row("I64", b"a LOGIN ALICE wonderland\r\n", OK, [("LOGIN", "ALICE", b"wonderland")]),
    Row("I58", plain(b"alice\0alice\0wonderland"), OK, [ALICE_PLAIN]),
    Row("I58-other-case", plain(b"ALICE\0alice\0wonderland"), OK, [ALICE_PLAIN]),
    Row(
        "I69",
        b"a AUTHENTICATE PLAIN\r\nAGFsaWNlAHdvbmRlcmxhbmQ=\r\nb SELECT INBOX\r\n",
        b"+ \r\n" + OK,
        [ALICE_PLAIN],
        b"b SELECT INBOX\r\n",
    ),
    Row("I70", b"a LOGIN alice wonderland\r\nb NOOP\r\nc LOGOUT\r\n", OK, [ALICE], b"b NOOP\r\nc LOGOUT\r\n"),
    Row(
        "I70-refused",
        b"a LOGIN alice wonderland\r\nb NOOP\r\nc SELECT INBOX\r\n",
        b"a NO [UNAVAILABLE] TikTok is on this phone.\r\n" + B_NOOP + b"c " + BAD,
        [ALICE],
        outcomes=(refuse,),
    ),
    Row(
        "I70-rejected",
        b"a LOGIN alice wonderland\r\nb LOGIN alice wonderland\r\nc NOOP\r\n",
        WRONG + b"b OK Logged in\r\n",
        [ALICE, ALICE],
        b"c NOOP\r\n",
        outcomes=(reject,),
    ),
    Row(
        "I70-fault",
        b"a LOGIN alice wonderland\r\nb NOOP\r\n",
        b"a NO [UNAVAILABLE] Mail is temporarily unavailable; please try again later.\r\n" + B_NOOP,
        [ALICE],
        outcomes=(fault,),
    ),
    Row("O01-accepted", bearer(b"XOAUTH2", XOAUTH2), OK, [("XOAUTH2", "alice", XOAUTH2)]),
    Row(
        "O01",
        bearer(b"XOAUTH2", XOAUTH2) + b"\r\nb NOOP\r\n",
        b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n" + WRONG + B_NOOP,
        [("XOAUTH2", "alice", XOAUTH2)],
        outcomes=(bearer_rejected,),
    ),
    Row("O09", bearer(b"OAUTHBEARER", OAUTHBEARER), OK, [("OAUTHBEARER", "alice", OAUTHBEARER)]),
    Row(
        "O09-error",
        b"a AUTHENTICATE OAUTHBEARER\r\n" + base64_of(OAUTHBEARER) + b"\r\nAQ==\r\n",
        b"+ \r\n+ eyJzdGF0dXMiOiI0MDEifQ==\r\n" + WRONG,
        [("OAUTHBEARER", "alice", OAUTHBEARER)],
        outcomes=(bearer_rejected,),
    ),
]

LITERALS = [
    Row("I10", b"a LOGIN {4294967296}\r\n", BYE, closed=True),
    Row("I11", b"a LOGIN {99999999999999999999}\r\n", BYE, closed=True),
    Row("I11-at-length", b"a LOGIN {" + b"9" * 8000 + b"+}\r\n", BYE, closed=True),
    # LITERAL+ is what we offer: a name of 4,097 octets is read, and nobody's.
    Row("I13", b"a LOGIN {4097+}\r\n" + b"x" * 4097 + b" pw\r\n", WRONG),
    Row("I13-over-the-limit", b"a LOGIN {8193+}\r\n" + b"x" * 8193, BYE, closed=True),
    Row("I15", b"a LOGIN {0005}\r\nalice wonderland\r\n", GO_ON + OK, [ALICE]),
    Row("I16", b"a LOGIN {-1}\r\nb NOOP\r\n", A_BAD + B_NOOP),
    Row("I17", b"a LOGIN {5 }\r\nb NOOP\r\n", A_BAD + B_NOOP),
    Row("I19", b"a LOGIN {13}\r\nal\r\nb NOOP\r\nx {1}\r\np\r\n", GO_ON * 2 + WRONG),
    Row("I20", b"a LOGIN {6}\r\nali\0ce {1}\r\np\r\n", GO_ON + BYE, closed=True),
    Row("I20-quoted", b'a LOGIN "ali\0ce" p\r\n', BYE, closed=True),
    Row("I20-atom", b"a LOGIN ali\0ce p\r\n", BYE, closed=True),
    Row("I23", b"a SEARCH {1024}\r\n" * 20, A_BAD * 3 + BYE, closed=True),
    Row("I23-unsynchronised", b"a SEARCH {6+}\r\nb NOOP\r\n", BYE, closed=True),
    Row("I23-many-empty", b"a LOGIN {0+}\r\n" + b"{0+}\r\n" * 2000, BYE, closed=True),
    Row("I23-many-large", b"a ID ({8000+}\r\n" + (b"x" * 8000 + b" {8000+}\r\n") * 4, BYE, closed=True),
]

SYNTAX = [
    Row("I24", b"a ID " + b"(" * 20000 + b"\r\n", A_BAD),
    Row("I24-longest", b"a ID " + b"(" * (MAX_ID_OCTETS - 5) + b"\r\n", A_BAD),
    Row("I24-one-too-long", b"a ID " + b"(" * (MAX_ID_OCTETS - 4) + b"\r\n", BYE, closed=True),
    Row("I24-short", b"a ID ((\r\n", A_BAD),
    Row("I24-nested", b'a ID (("name" "x"))\r\n', A_BAD),
    Row("I25", b"A" * 10000 + b" NOOP\r\n", BYE, closed=True),
    Row("I25-one-too-long", b"A" * 127 + b" NOOP\r\n", UNTAGGED_BAD),
    Row("I25-longest", b"A" * 126 + b" NOOP\r\n", b"A" * 126 + b" OK Done.\r\n"),
    Row("I26", b"+ NOOP\r\n", UNTAGGED_BAD),
    *(
        Row(f"I28-{index}", tag + b" NOOP\r\n", UNTAGGED_BAD)
        for index, tag in enumerate((b'a"b', b"a{1}b", b"a%b", b"a(b", b"a\\b", b"a*b", b"", b"\xff"))
    ),
    Row("I30", b"a NOOP\nb NOOP\n", BYE, closed=True),
    Row("I30-bare-CR", b"a NOOP\rb NOOP\r\n", BYE, closed=True),
    Row("I31", b"a LOGIN " + b"A" * 200_000, BYE, closed=True),
    Row("I31-longest", b"a " + b"A" * (MAX_LINE_OCTETS - 2) + b"\r\n", A_BAD),
    Row("I31-one-too-long", b"a " + b"A" * (MAX_LINE_OCTETS - 1) + b"\r\n", BYE, closed=True),
    Row("I33", b"a NOOP\r\n" * 10_000, b"a OK Done.\r\n" * MAX_COMMANDS + BYE, closed=True),
    Row("I34", b"a X\r\nb X\r\nc X\r\nd X\r\n", A_BAD + b"b " + BAD + b"c " + BAD + BYE, closed=True),
    Row("I35", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", BYE, closed=True),
    Row("I35-post", b"POST /a-NOOP HTTP/1.1\r\nb NOOP\r\n", BYE, closed=True),
    Row("I37-one", b"a LOGIN alice\r\n", A_BAD),
    Row("I37-three", b"a LOGIN a b c\r\n", A_BAD),
    Row("I37-list", b"a LOGIN (alice) b\r\n", A_BAD),
    Row("I37-brace", b"a LOGIN al{ce pw\r\n", A_BAD),
    Row("I37-nil", b"a LOGIN NIL pw\r\n", A_BAD),
    Row("I37-none", b"a LOGIN\r\nb AUTHENTICATE\r\n", A_BAD + b"b " + BAD),
    Row("I37-authenticate", b"a AUTHENTICATE PLAIN = =\r\n", A_BAD),
    Row("I37-noop", b"a NOOP x\r\nb CAPABILITY x\r\n", A_BAD + b"b " + BAD),
    Row("I37-starttls", b"a STARTTLS x\r\n", A_BAD, in_the_clear=True),
    Row("I40-select", b"a SELECT INBOX\r\n", A_BAD),
    Row("I40-idle", b"a IDLE\r\n", A_BAD),
    Row(
        "I40-enable",
        b"a ENABLE CONDSTORE\r\n",
        b"* ENABLED\r\na OK Nothing can be enabled before logging in.\r\n",
    ),
    Row("I40-enable-nothing", b"a ENABLE\r\nb ENABLE (X)\r\n", A_BAD + b"b " + BAD),
    Row("I42", b"a COMPRESS DEFLATE\r\n", A_BAD),
    Row("I43", b"a LOGOUT\r\n", b"* BYE Goodbye.\r\na OK Done.\r\n", closed=True),
    Row(
        "I43-deaf-afterwards",
        b"a LOGOUT\r\nb LOGIN alice wonderland\r\n",
        b"* BYE Goodbye.\r\na OK Done.\r\n",
        closed=True,
    ),
    Row("I72-before-login", b"a UNAUTHENTICATE\r\n", A_BAD),
]

SASL = [
    Row("I50", b"a AUTHENTICATE PLAIN\r\n*\r\nb NOOP\r\n", b"+ \r\n" + CANCELLED + B_NOOP),
    Row("I51", b"a AUTHENTICATE PLAIN\r\n*\r\n" * 20, (b"+ \r\n" + CANCELLED) * 3 + BYE, closed=True),
    Row("I52", b"a AUTHENTICATE PLAIN =\r\n", WRONG),
    Row("I52-empty-response", b"a AUTHENTICATE PLAIN\r\n\r\n", b"+ \r\n" + WRONG),
    Row("I53", b"a AUTHENTICATE PLAIN !!!!\r\n", BAD_RESPONSE),
    Row("I55", b"a AUTHENTICATE PLAIN AGFsaWNlAHdvbmRlcmxhbmQ\r\n", BAD_RESPONSE),
    Row("I55-too-much", b"a AUTHENTICATE PLAIN AGFsaWNlAHB3====\r\n", BAD_RESPONSE),
    Row("I57", plain(b"bob\0alice\0wonderland"), NOT_ANOTHER),
    Row("I60", plain(b"alice"), WRONG),
    Row("I60-four-parts", plain(b"\0alice\0pw\0x"), WRONG),
    Row("I62-name", plain(b"\0alice\r\nb NOOP\0pw"), WRONG),
    Row("I62-password", plain(b"\0alice\0pw\r\nb NOOP"), WRONG),
    Row("I62-escape", plain(b"\0ali\x1b[0mce\0pw"), WRONG),
    Row("I63", b"a AUTHENTICATE PLAIN AP/+AHB3\r\n", WRONG),
    Row("I63-authzid", plain(b"\xff\0alice\0pw"), WRONG),
    Row("I68", b"a AUTHENTICATE PLAIN\r\n" + b"A" * 65536, b"+ \r\n" + BYE, closed=True),
    Row("I68-longest", b"a AUTHENTICATE PLAIN\r\n" + b"A" * MAX_RESPONSE_OCTETS + b"\r\n", b"+ \r\n" + WRONG),
    Row("I73-mechanism", b"a AUTHENTICATE CRAM-MD5\r\n", NOT_OFFERED),
    Row("E03", b"a AUTHENTICATE EXTERNAL YWxpY2U=\r\n", NOT_OFFERED),
    Row("E03-thrice", b"a AUTHENTICATE EXTERNAL =\r\n" * 4, NOT_OFFERED * 3 + BYE, closed=True),
    Row("O02", bearer(b"XOAUTH2", b"user=alice\x01auth=Bearer t\x01"), BAD_RESPONSE),
    Row("O04", bearer(b"XOAUTH2", b"user=alice\x01auth=Bearer t1\x01auth=Bearer t2\x01\x01"), BAD_RESPONSE),
    Row("O04-other-case", bearer(b"XOAUTH2", b"user=alice\x01User=bob\x01auth=Bearer t\x01\x01"), BAD_RESPONSE),
    Row("O04-two-names", bearer(b"OAUTHBEARER", b"n,a=alice,\x01user=bob\x01auth=Bearer t\x01\x01"), BAD_RESPONSE),
    Row("O07", b"a AUTHENTICATE XOAUTH2\r\n" + b"A" * 65536 + b"\r\n", b"+ \r\n" + BYE, closed=True),
    Row(
        "O07-16-KiB",
        b"a AUTHENTICATE XOAUTH2\r\n" + base64_of(XOAUTH2[:-2] + b"t" * 16384 + b"\x01\x01") + b"\r\n",
        b"+ \r\n" + OK,
        [("XOAUTH2", "alice", XOAUTH2[:-2] + b"t" * 16384 + b"\x01\x01")],
    ),
    Row("O10-binding", bearer(b"OAUTHBEARER", b"p=tls-unique,,\x01auth=Bearer t\x01\x01"), BAD_RESPONSE),
    Row("O10-no-name", bearer(b"OAUTHBEARER", b"y,,\x01auth=Bearer t\x01\x01"), WRONG),
    Row("O10-escape", bearer(b"OAUTHBEARER", b"n,a=ali=41ce,\x01auth=Bearer t\x01\x01"), BAD_RESPONSE),
    Row("O10-comma", bearer(b"OAUTHBEARER", b"n,a=alice\x01auth=Bearer t\x01\x01"), BAD_RESPONSE),
    Row("O11", bearer(b"OAUTHBEARER", b"n,,\x01auth=Bearer t\x01\x01"), WRONG),
]

IN_THE_CLEAR = [
    Row("T09", b"a LOGIN alice wonderland\r\n", NEEDS_TLS, in_the_clear=True, exposed=["LOGIN"]),
    Row("T09-plain", plain(b"\0alice\0pw"), NEEDS_TLS, in_the_clear=True, exposed=["PLAIN"]),
    Row("T09-not-sent", b"a AUTHENTICATE PLAIN\r\n", NEEDS_TLS, in_the_clear=True),
    Row("T09-bearer", bearer(b"XOAUTH2", XOAUTH2), NEEDS_TLS, in_the_clear=True, exposed=["XOAUTH2"]),
    Row("T09-not-offered", b"a AUTHENTICATE NTLM AAAA\r\n", NEEDS_TLS, in_the_clear=True, exposed=["other"]),
]

IDENTITY = [
    Row("D01", b"a ID NIL\r\n", IDENTIFIED),
    Row("D03", b'a ID ("name" {20}\r\nx")\r\nL LOGOUT\r\nz (\r\n)\r\n', GO_ON + IDENTIFIED),
    Row("D04", b'a ID ("x-originating-ip" "10.9.8.7" "x-session-id" "s" "x-forward-user" "admin")\r\n', IDENTIFIED),
    Row("D05-odd", b'a ID ("name")\r\n', A_BAD),
    Row("D05-atoms", b"a ID (name v)\r\n", IDENTIFIED),
    Row("D05-nil-value", b'a ID ("a" NIL)\r\n', IDENTIFIED),
    Row("D05-nil-key", b'a ID (NIL "a")\r\n', A_BAD),
    Row("D05-empty", b"a ID ()\r\n", IDENTIFIED),
    Row("D05-no-list", b"a ID name\r\nb ID\r\n", A_BAD + b"b " + BAD),
    Row("D05-open", b'a ID ("a" "b"\r\nb ID ("a"  "b")\r\n', A_BAD + b"b " + BAD),
    Row("D08", b"a ID (" + b" ".join([b'"k" "v"'] * 31) + b")\r\n", A_BAD),
    Row("D08-30", b"a ID (" + b" ".join([b'"k" "v"'] * 30) + b")\r\n", IDENTIFIED),
    Row(
        "D08-long", b"a ID (" + b" ".join([b'"' + b"k" * 30 + b'" "' + b"v" * 1024 + b'"'] * 30) + b")\r\n", IDENTIFIED
    ),
    Row(
        "D08-long-literals",
        b"a ID (" + b" ".join([b'"' + b"k" * 30 + b'" {1024+}\r\n' + b"v" * 1024] * 30) + b")\r\n",
        IDENTIFIED,
    ),
    Row("D08-often", b"a ID NIL\r\n" * 500, IDENTIFIED * MAX_COMMANDS + BYE, closed=True),
    Row("D09", b'a ID ("name" "com.apple.email.maild" "os" "iOS" "os-version" "18.0 (22A3354)")\r\n', IDENTIFIED),
]

ROWS = [*LOGINS, *LITERALS, *SYNTAX, *SASL, *IN_THE_CLEAR, *IDENTITY]
