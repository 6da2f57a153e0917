"""The operational log: JSON lines, and nothing secret in them."""

import io
import json
import logging
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.secret import Secret
from gatekeeper.server.logs import configure_logs
from testkit.tls import Authority, server_context


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; the process's own configuration is put back."""
    root = logging.getLogger()
    handlers, level, mail = root.handlers[:], root.level, logging.getLogger("mail.log").level
    root.handlers[:] = []
    hook = sys.unraisablehook
    stream = io.StringIO()
    configure_logs(stream)
    yield stream
    sys.unraisablehook = hook
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("mail.log").setLevel(mail)
    structlog.reset_defaults()


def test_events_are_json_lines_with_level_and_time(stream: io.StringIO) -> None:
    """One line each, whatever is in them."""
    structlog.get_logger("x").warning("some.event", text="ä\nb", number=5)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["text"], event["number"]) == ("some.event", "warning", "ä\nb", 5)
    assert event["timestamp"].endswith("Z")


def test_secrets_and_app_lists_do_not_show(stream: io.StringIO) -> None:
    """Even when somebody logs them by mistake."""
    structlog.get_logger("x").info("oops", password=Secret("hunter2"), apps=AppList([App(id="org.private")]))
    assert "hunter2" not in stream.getvalue()
    assert "private" not in stream.getvalue()


def test_an_exception_is_logged_with_its_place(stream: io.StringIO) -> None:
    """Inside the one line."""
    structlog.get_logger("x").error("session.fault", exc_info=ZeroDivisionError("x"))
    (line,) = stream.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_what_the_mail_libraries_say_about_clients_is_not_logged(stream: io.StringIO) -> None:
    """Aiosmtpd's lower levels show what clients send; other libraries are heard from warnings on."""
    logging.getLogger("mail.log").warning("AUTH PLAIN AGFsaWNl")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("trouble")
    assert stream.getvalue() == "some.library: trouble\n"


class _Unlucky:
    def __del__(self) -> None:
        raise ZeroDivisionError("in __del__")


def test_an_exception_that_nobody_can_be_told_is_one_line(stream: io.StringIO) -> None:
    """Python would print a traceback of many lines, which are no JSON."""
    _Unlucky()
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"]) == ("exception.ignored", "error")
    assert "ZeroDivisionError: in __del__" in event["exception"]


def test_a_servers_name_that_is_not_ascii_is_not_logged(
    stream: io.StringIO, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Anybody can send one: the handshake fails, and is recorded like any other."""
    authority = Authority(tmp_path)
    server, client = server_context(authority.server_certificate("named")), authority.client_context()
    server.sni_callback = lambda *_: None
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(to_client, to_server, server_hostname="buecher.example").do_handshake()
    to_server.write(to_server.read().replace(b"buecher", b"b\xc3\xbccher"))
    with pytest.raises(ssl.SSLError, match=r"(?i)callback.failed"):
        server.wrap_bio(to_server, to_client, server_side=True).do_handshake()
    assert (stream.getvalue(), capfd.readouterr().err) == ("", "")
