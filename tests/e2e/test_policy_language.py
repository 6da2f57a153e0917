"""What the language of policies says, through the running gate and a real mail server."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

from testkit.dovecot import Dovecot, User
from testkit.gate import GateProcess, coded, upstream
from testkit.inventory import device
from testkit.postfix import Postfix
from testkit.sessions import imap_login_reply
from testkit.waiting import eventually

POLICY = """
schema = 1
[defaults]
language = { default = "en", groups = { berlin = "de" } }
[groups]
berlin = { directory = "CN=Berlin" }
[sources]
mdm = "mdm"
[[rule]]
id = "agent"
required_apps = [{ id = "com.example.agent" }]
scope = { networks = ["127.0.0.0/8", "::1"], listeners = ["imaps"] }
phases = { zone = "Europe/Berlin", enforce = "2020-01-01" }
[rule.message.en]
short = "An app is missing."
fix = "Install it, case {code}."
[rule.message.de]
short = "Eine App fehlt."
fix = "Installieren, Fall {code}."
[[rule]]
id = "os"
min_os = { android = "14" }
flags = ["compromised"]
scope = { networks = ["203.0.113.0/24"] }
phases = { enforce = "2020-01-01" }
"""


def test_a_required_app_a_language_and_a_code(
    make_gate_anywhere: Callable[..., GateProcess],
    dovecot: Dovecot,
    postfix: Postfix,
    context: ssl.SSLContext,
    spare_user: User,
    tmp_path: Path,
) -> None:
    """The code in the refusal finds its record; the language follows the directory's group; the app opens the door."""
    groups = tmp_path / "groups.csv"
    groups.write_text("group,user\nCN=Berlin,somebody@example.com\n")
    gate = make_gate_anywhere(
        {
            "upstream": {"imap": upstream(dovecot.imap_port), "smtp": upstream(postfix.clear_port)},
            "groups": {"file": str(groups)},
            "throttle": {"remember_refusals": "0s"},
        },
        policy_text=POLICY,
    )
    gate.start()
    gate.register(device("ph-1", spare_user.login))

    english = imap_login_reply(gate.ports.imaps, context, spare_user)
    found = re.fullmatch(rb"NO \[UNAVAILABLE\] An app is missing\. Install it, case ([0-9a-f]{16})\.\s*", english)
    assert found, english
    blocked = eventually(lambda: coded(gate.audit_records(), "GK1013W"), within=10)[0]
    assert blocked["unmapped"]["gatekeeper"]["conn"] == found[1].decode()
    assert blocked["unmapped"]["gatekeeper"]["rules"] == ["agent"]

    groups.write_text(f"group,user\nCN=Berlin,{spare_user.login}\n")
    eventually(lambda: b"Eine App fehlt." in imap_login_reply(gate.ports.imaps, context, spare_user), within=10)

    gate.register(device("ph-1", spare_user.login, {"id": "com.example.agent"}))
    eventually(lambda: imap_login_reply(gate.ports.imaps, context, spare_user).startswith(b"OK"), within=10)
