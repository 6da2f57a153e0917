"""Phones with an agent, as the admin port sees them: ask for a nonce, sign the list of apps, post it."""

from datetime import UTC, datetime
from pathlib import Path

from gatekeeper.domain.app import App
from testkit.evidence import AttestationAuthority
from testkit.gate import GateProcess, Response

AUDIENCE = "gatekeeper.example"
MEDIA_TYPE = "application/eat+jwt"
NOTES_APP = App(id="com.example.notes", name="Notes", version="1.2")
TIKTOK_APP = App(id="com.zhiliaoapp.musically", name="TikTok", version="16.6.5", version_code=2021606050)


class Agents:
    """The agents of one company, whose attestation CA the gate was told of."""

    def __init__(self, directory: Path) -> None:
        self.authority = AttestationAuthority(now())
        self.ca_file = directory / "attestation-ca.pem"
        self.ca_file.write_bytes(self.authority.ca_pem)

    def configuration(self) -> dict[str, object]:
        """Return the `[evidence]` table that trusts these agents."""
        issuer = {"name": "company-agents", "kind": "x5c", "ca": str(self.ca_file)}
        return {"audience": AUDIENCE, "issuer": [issuer]}

    def nonce(self, gate: GateProcess, device_id: str) -> str:
        """Ask for a nonce; it must be granted."""
        answer = gate.post("/v1/challenge", b'{"device_id":"%s"}' % device_id.encode(), "application/json")
        assert answer.status == 200, answer
        return str(answer.json()["nonce"])

    def token(self, gate: GateProcess, device_id: str, *apps: App) -> bytes:
        """Return a genuine token that lists `apps` and a harmless one."""
        nonce = self.nonce(gate, device_id)
        return self.authority.token(device_id, [NOTES_APP, *apps], nonce, AUDIENCE, now()).encode()

    def post(self, gate: GateProcess, token: bytes) -> Response:
        """Post a token."""
        return gate.post("/v1/evidence", token, MEDIA_TYPE)

    def report(self, gate: GateProcess, device_id: str, *apps: App) -> Response:
        """Ask, sign and post in one go."""
        return self.post(gate, self.token(gate, device_id, *apps))


def now() -> datetime:
    """Return the present: the gate under test judges freshness by the real clock."""
    return datetime.now(UTC)  # noqa: TID251  see above
