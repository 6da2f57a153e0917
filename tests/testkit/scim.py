"""A SCIM 2.0 service provider of the python-scim project, in this process, over TLS."""

import http.client
import json
import ssl
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from scim2_models import ScimProvider, ServiceProviderConfig
from scim2_server.memory import InMemoryStorage
from scim2_server.service import ScimService
from scim2_server.testserver.application import BearerTokenApplication
from scim2_server.utils import load_default_resource_types, load_default_schemas

from testkit.ports import LOOPBACK
from testkit.tls import KeyPair, server_context

TOKEN = "a-token.of~the+provider/=="
CORE = "urn:ietf:params:scim:schemas:core:2.0"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """TLS in the request's own thread: who breaks off the handshake holds nobody up."""
        assert self.context is not None
        try:
            with self.context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
        except OSError:
            pass

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no matter."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class Scim:
    """A provider that runs; `stop` ends it."""

    def __init__(
        self, pair: KeyPair, *, most: int = 20, filters: bool = True, cursors: bool = False, port: int = 0
    ) -> None:
        """Start, with no resources; `most` in one answer."""
        schema = f"{CORE}:ServiceProviderConfig"
        supported = {"supported": False}
        document = {
            "schemas": [schema],
            "patch": {"supported": True},
            "bulk": {**supported, "maxOperations": 0, "maxPayloadSize": 0},
            "filter": {"supported": filters, "maxResults": most},
            "changePassword": supported,
            "sort": {"supported": True},
            "etag": supported,
            "authenticationSchemes": [],
        }
        if cursors:
            document["pagination"] = {"cursor": True, "index": False, "defaultPageSize": most, "maxPageSize": most}
        provider = ScimProvider.from_discovery(
            load_default_schemas().values(),
            load_default_resource_types().values(),
            config=ServiceProviderConfig.model_validate(document),
        )
        self.paths: list[str] = []
        """What was asked for."""
        service = ScimService(provider, secret="s" * 32)
        application = BearerTokenApplication(InMemoryStorage(), provider, service=service, bearer_tokens=[TOKEN])

        def noted(environ: Any, start: Any) -> Any:
            self.paths.append(f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}")
            return application(environ, start)

        self._server = make_server(LOOPBACK, port, noted, server_class=_Server, handler_class=_Quiet)
        assert isinstance(self._server, _Server)
        self._server.context = server_context(pair)
        self._clients = ssl.create_default_context(cafile=str(pair.certificate))
        self._clients.check_hostname = False
        self._clients.verify_mode = ssl.CERT_NONE  # the test talks to its own server
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def user(self, name: str, *emails: str) -> str:
        """Make a user; returns the id."""
        addresses = [{"value": email} for email in emails]
        return self._made("/Users", {"schemas": [f"{CORE}:User"], "userName": name, "emails": addresses})

    def group(self, name: str, *users: str, groups: tuple[str, ...] = ()) -> str:
        """Make a group of these ids; returns its own."""
        members = [{"value": one, "type": "User"} for one in users]
        members += [{"value": one, "type": "Group"} for one in groups]
        return self._made("/Groups", {"schemas": [f"{CORE}:Group"], "displayName": name, "members": members})

    def replace_group(self, id_: str, name: str, *users: str) -> None:
        """Make these the group's members."""
        members = [{"value": one, "type": "User"} for one in users]
        body = {"schemas": [f"{CORE}:Group"], "displayName": name, "members": members}
        self._call("PUT", f"/Groups/{id_}", body)

    def _made(self, path: str, body: dict[str, object]) -> str:
        return str(self._call("POST", path, body)["id"])

    def _call(self, method: str, path: str, body: dict[str, object]) -> dict[str, object]:
        connection = http.client.HTTPSConnection(LOOPBACK, self.port, timeout=10, context=self._clients)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
            connection.request(method, f"/v2{path}", json.dumps(body), headers)
            response = connection.getresponse()
            found: dict[str, object] = json.loads(response.read())
            assert response.status in (200, 201), found
            return found
        finally:
            connection.close()
