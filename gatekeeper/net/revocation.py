"""Certificate revocation lists for client certificates (RFC 5280 §5): what a file holds, and until when it counts.

The check itself is OpenSSL's. It fails closed: with a list that has expired, or without one of the CA that issued it, a
client certificate is refused.
"""

import re
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

MAX_OCTETS = 4 * 1024 * 1024
"""Of a file of lists, some 80,000 revoked certificates; every context holds them (Python has no way to share them)."""
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_OTHER = re.compile(rb"-----BEGIN (?!X509 CRL-----)")


def read_lists(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """The lists of a PEM file; raises OSError, or ValueError when it holds none, or anything else."""
    with path.open("rb") as file:
        data = file.read(MAX_OCTETS + 1)
    if len(data) > MAX_OCTETS:
        raise ValueError(f"larger than {MAX_OCTETS} octets")
    if _OTHER.search(data):
        # OpenSSL would take a certificate in it for one more CA.
        raise ValueError("holds something else than X509 CRL")
    blocks = _LIST.findall(data)
    if not blocks:
        raise ValueError("holds no X509 CRL in PEM")
    return tuple(map(x509.load_pem_x509_crl, blocks))


def valid_until(path: Path | None) -> datetime | None:
    """When the first list of a file expires; None: never. Raises as `read_lists`."""
    lists = () if path is None else read_lists(path)
    return min((one.next_update_utc for one in lists if one.next_update_utc is not None), default=None)


def check_lists(path: Path, ca: Path) -> None:
    """Raise ValueError (or OSError) when a list is not signed by a CA of the file `ca`: it would change nothing."""
    authorities = x509.load_pem_x509_certificates(ca.read_bytes())
    for one in read_lists(path):
        if not any(_is_signed_by(one, authority) for authority in authorities):
            raise ValueError(f"the list of `{one.issuer.rfc4514_string()}` is not of a CA in client_ca")


def _is_signed_by(one: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    if one.issuer != authority.subject:
        return False
    try:
        return one.is_signature_valid(authority.public_key())  # type: ignore[arg-type]  # other kinds of key raise
    except (TypeError, UnsupportedAlgorithm):
        return False
