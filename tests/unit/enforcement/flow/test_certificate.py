"""The certificate that a phone presented, and when it names nobody any more."""

import ssl
from datetime import timedelta

from gatekeeper.enforcement.flow.certificate import presented
from gatekeeper.server.clock import SystemClock
from testkit.loops import local_pair
from testkit.tls import Authority, server_context


def _handshake(authority: Authority) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """A server's end that has seen a device's certificate, and the client's."""
    near, far = local_pair()
    context = server_context(authority.server_certificate("seen"))
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    server = context.wrap_socket(near, server_side=True, do_handshake_on_connect=False)
    far.settimeout(0)
    device = authority.client_context(authority.device_certificate("ph-1"))
    client = device.wrap_socket(far, server_hostname="localhost", do_handshake_on_connect=False)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return server, client


def test_a_certificate_names_its_device_while_it_counts(authority: Authority) -> None:
    """Until it expires, and until the list of the revoked ones does: a resumed session is asked neither by OpenSSL."""
    now = SystemClock().now()
    server, client = _handshake(authority)
    with server, client:
        for until in (None, now + timedelta(hours=1)):
            found = presented(server, now, until)
            assert found is not None
            assert found.san_uris == ("urn:gatekeeper:device:ph-1",)
        for then, until in ((now + timedelta(days=2), None), (now, now - timedelta(seconds=1))):
            found = presented(server, then, until)
            assert found is not None
            assert (found.sha256, found.san_uris, found.common_name) == ("", (), None)
    assert presented(None, now) is None
