"""The demo's gate: the real program in a process of its own, run as an operator would, with the files it needs.

Inside holds: configuration, certificates, database and audit log lie in one directory, which `gatekeeper` commands
can be pointed at; the process ends with the context.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gatekeeper.adapters.sinks.reader import lines
from gatekeeper.audit.stored import StoredRecord, read
from gatekeeper.cli.demo.mail_server import LOOPBACK, MailServer
from gatekeeper.cli.demo.waiting import eventually

CONFIGURATION_FILE = "gatekeeper.toml"
AUDIENCE = "gatekeeper.example"
_AUDIT = "var/audit"
LOG_FILE = "gate.log"
_CONTROL = "http://localhost"
CONTROL_SOCKET = "var/control.sock"
"""Named here, as operators know it: importing it would import the whole gate."""
_START_S = 20.0
_STOP_S = 10.0
_COMMAND_S = 20.0
_RECORD_S = 5.0

_CONFIGURATION = """\
[server]
state_directory = "var"
drain_timeout = "2s"
check_url = "https://gatekeeper.example/why"

[tls]
certificate = "certs/server.pem"
private_key = "certs/server.key"
client_ca = "certs/device-ca.pem"
client_certificates = "request"

[[listener]]
name = "imaps"
protocol = "imap"
bind = "{host}:0"
tls = "implicit"

[[listener]]
name = "submission"
protocol = "smtp"
bind = "{host}:0"
tls = "starttls"

[upstream.imap]
address = "{host}:{imap_port}"
tls = "off"

[upstream.smtp]
address = "{host}:{submission_port}"
tls = "off"

[binding]
order = ["client_certificate", "user"]

[policy]
file = "policy.toml"

[store]
url = "sqlite:///var/gatekeeper.sqlite3"

[audit]
directory = "{audit}"
origin = "gatekeeper.example/demo/1"

[evidence]
audience = "{audience}"

[[evidence.issuer]]
name = "company-agents"
kind = "x5c"
ca = "certs/attestation-ca.pem"

[admin]
bind = "{host}:0"
"""

_POLICY = """\
schema = 1

[defaults]
unknown_device = "block"
evidence_max_age = "24h"
stale = { action = "warn", then = "block", after = "72h" }
insufficient = { company = "block", personal = "warn" }

[[rule]]
id = "no-tiktok"
title = "TikTok is not allowed on phones that read company mail"
reason = "Security directive 2020-07"
apps = [
  { platform = "android", id = "com.zhiliaoapp.musically" },
  { platform = "android", id = "com.ss.android.ugc.trill" },
  { platform = "ios", id = "com.zhiliaoapp.musically" },
  { platform = "ios", id = "com.ss.iphone.ugc.*" },
]
scope = { device_class = ["mobile"] }
phases = { warn = "2020-07-10T09:00:00-07:00", enforce = "2020-07-10T17:00:00-07:00" }

[rule.message.en]
short = "Mail is paused: TikTok is on this phone."
fix = "Remove TikTok, then open {check_url} and press Check again."
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


class Gate:
    """The running gate."""

    def __init__(self, directory: Path, process: Process) -> None:
        self.imap_port = 0
        self.submission_port = 0
        self.admin_port = 0
        self._directory = directory
        self._process = process

    async def ready(self) -> None:
        """Wait until it is ready, and learn where it listens."""
        status = await eventually(self._status, within_s=_START_S, what="the gate is ready")
        names = ("imaps", "submission", "admin")
        self.imap_port, self.submission_port, self.admin_port = (status[name] for name in names)

    async def stop(self) -> int:
        """Drain it as an operator would, and kill it when it does not end; returns the exit code."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                return await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.kill()

    async def command(self, *arguments: str) -> Done:
        """Run a `gatekeeper` command on this gate."""
        process = await asyncio.create_subprocess_exec(
            *_program(), *arguments, cwd=self._directory, env=_environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def challenge(self, device_id: str) -> str:
        """Ask for a nonce for signed evidence."""
        status, answer = await self._post("/v1/challenge", json.dumps({"device_id": device_id}), "application/json")
        if status != 200:
            raise OSError(f"POST /v1/challenge answered {status}: {answer}")
        return str(answer["nonce"])

    async def evidence(self, token: str) -> tuple[int, dict[str, object]]:
        """Post signed evidence; returns the status and what the policy makes of the phone."""
        return await self._post("/v1/evidence", token, "application/eat+jwt")

    def records(self) -> list[StoredRecord]:
        """The audit log so far."""
        return [read(line) for line in lines(self._directory / _AUDIT)]

    async def recorded(self, codes: Sequence[str], *, after: int) -> bool:
        """Wait until the records after that number have at least these event codes; False when they do not come."""

        async def look() -> bool:
            found = [record.code for record in self.records() if record.sequence > after]
            return all(found.count(code) >= codes.count(code) for code in set(codes))

        try:
            return await eventually(look, within_s=_RECORD_S, what="audit records")
        except TimeoutError:
            return False

    async def _status(self) -> dict[str, int] | None:
        """The ports by listener when everything is ready."""
        if self._process.returncode is not None:
            raise OSError(f"the gate ended with exit code {self._process.returncode}")
        control = aiohttp.UnixConnector(str(self._directory / CONTROL_SOCKET))
        try:
            async with aiohttp.ClientSession(connector=control) as client, client.get(f"{_CONTROL}/status") as answer:
                status = await answer.json()
        except (OSError, aiohttp.ClientError):
            return None
        if any(result != "ok" for result in status["ready"].values()):
            return None
        ports = {name: int(listener["port"]) for name, listener in status["listeners"].items()}
        return {**ports, "admin": int(status["admin"])}

    async def _post(self, path: str, body: str, content_type: str) -> tuple[int, dict[str, object]]:
        url = f"http://{LOOPBACK}:{self.admin_port}{path}"
        headers = {"Content-Type": content_type}
        async with aiohttp.ClientSession() as client, client.post(url, data=body, headers=headers) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def running_gate(directory: Path, upstream: MailServer) -> AsyncIterator[Gate]:
    """Write the files and start the gate; `directory/certs` exists."""
    configuration = _CONFIGURATION.format(
        host=LOOPBACK,
        imap_port=upstream.imap_port,
        submission_port=upstream.submission_port,
        audit=_AUDIT,
        audience=AUDIENCE,
    )
    (directory / CONFIGURATION_FILE).write_text(configuration)
    (directory / "policy.toml").write_text(_POLICY)
    with (directory / LOG_FILE).open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *_program(), "serve", cwd=directory, env=_environment(), stdin=DEVNULL, stdout=log, stderr=log
        )
    gate = Gate(directory, process)
    try:
        await gate.ready()
        yield gate
    finally:
        await gate.stop()


def _program() -> tuple[str, ...]:
    return (sys.executable, "-m", "gatekeeper", "--config", CONFIGURATION_FILE)


def _environment() -> dict[str, str]:
    """Without settings of another gate."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GATEKEEPER_")}
