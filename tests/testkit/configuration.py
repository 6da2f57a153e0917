"""A whole configuration with every file it names, in a directory of a test's own."""

from pathlib import Path

from gatekeeper.server.clock import SystemClock
from testkit.evidence import AttestationAuthority
from testkit.tls import Authority
from testkit.toml import dumps, merged

POLICY = 'schema = 1\n[defaults]\nunknown_device = "block"\n'


class Configuration:
    """The contract's example, with ports and paths of its own; `write` lays changes over it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "gatekeeper.toml"
        self.policy_path = directory / "policy.toml"
        self.policy_path.write_text(POLICY)
        self.authority = Authority(directory, "server")
        self.devices = Authority(directory, "devices")
        self.server = self.authority.server_certificate("mail")
        self.agents = AttestationAuthority(SystemClock().now())
        attestation_ca = directory / "attestation-ca.pem"
        attestation_ca.write_bytes(self.agents.ca_pem)
        self.document: dict[str, object] = {
            "server": {"state_directory": str(directory / "var"), "workers": 1, "drain_timeout": "2s"},
            "tls": {
                "certificate": str(self.server.certificate),
                "private_key": str(self.server.private_key),
                "client_ca": str(self.devices.ca_file),
                "client_certificates": "request",
            },
            "listener": [
                {"name": "imaps", "protocol": "imap", "bind": "127.0.0.1:0", "tls": "implicit"},
                {"name": "submission", "protocol": "smtp", "bind": "127.0.0.1:0", "tls": "starttls"},
            ],
            "upstream": {
                "imap": {"address": "127.0.0.1:9", "tls": "off", "ca": "", "client_address": "id"},
                "smtp": {"address": "127.0.0.1:9", "tls": "starttls", "client_address": "xclient"},
            },
            "binding": {"order": ["client_certificate", "user"]},
            "policy": {"file": str(self.policy_path)},
            "store": {"url": f"sqlite:///{directory}/var/gatekeeper.sqlite3"},
            "audit": {"directory": str(directory / "var" / "audit"), "origin": "gatekeeper.example/audit/1"},
            "evidence": {
                "audience": "gatekeeper.example",
                "issuer": [{"name": "company-agents", "kind": "x5c", "ca": str(attestation_ca)}],
            },
            "admin": {"bind": "127.0.0.1:0"},
            "throttle": {"first_delay": "0s"},  # tests guess a lot, and all from one address
        }
        self.write()

    def write(self, changes: dict[str, object] | None = None) -> Path:
        """Write the configuration with `changes` laid over it (None takes a key away); they stay for the next time."""
        self.document = merged(self.document, changes or {})
        self.path.write_text(dumps(self.document))
        return self.path
