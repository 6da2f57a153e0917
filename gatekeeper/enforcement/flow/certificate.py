"""The certificate that a phone presented: the facts a device or a person is found by."""

from datetime import datetime
from hashlib import sha256
from ssl import SSLSocket, cert_time_to_seconds
from typing import Any, cast

from gatekeeper.domain.request import ClientCertificate


def presented(
    tls: SSLSocket | None, now: datetime, revocations_until: datetime | None = None
) -> ClientCertificate | None:
    """The client certificate of a finished handshake, which has checked its chain; None when there is none.

    `revocations_until`: until when it is known which certificates are revoked; None: always.
    """
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    if tls is None or der is None:
        return None
    facts = cast("dict[str, tuple[Any, ...]]", tls.getpeercert() or {})  # the shape that ssl documents
    is_expired = cert_time_to_seconds(str(facts.get("notAfter"))) < now.timestamp()
    if is_expired or (revocations_until is not None and revocations_until < now):
        # A resumed TLS session brings back a certificate that has expired since, or that may have been revoked since
        # the list ended: it names nobody any more.
        return ClientCertificate(sha256="")
    alternatives = facts.get("subjectAltName", ())
    subject = {key: value for names in facts.get("subject", ()) for key, value in names}
    return ClientCertificate(
        sha256=sha256(der).hexdigest(),
        san_uris=tuple(value for kind, value in alternatives if kind == "URI"),
        san_emails=tuple(value for kind, value in alternatives if kind == "email"),
        common_name=subject.get("commonName"),
        serial_number=subject.get("serialNumber"),
    )
