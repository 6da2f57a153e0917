"""One attestation CA and one genuine token's terms, made once."""

from datetime import UTC, datetime

import pytest

from testkit.evidence import AttestationAuthority

NOW = datetime(2026, 7, 10, 17, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def authority() -> AttestationAuthority:
    """The company's attestation CA."""
    return AttestationAuthority(NOW)
