"""Each section of the configuration: keys, defaults, and what must fit together; a module for each larger one."""

import socket
from datetime import timedelta
from pathlib import Path

from gatekeeper.config.sections.audit import read_audit
from gatekeeper.config.sections.binding import read_binding
from gatekeeper.config.sections.evidence import read_evidence
from gatekeeper.config.sections.groups import read_groups
from gatekeeper.config.sections.identity import read_accounts
from gatekeeper.config.sections.limits import read_limits, read_throttle
from gatekeeper.config.sections.listeners import read_listeners
from gatekeeper.config.sections.policy import read_break_glass, read_bundles
from gatekeeper.config.sections.tls import read_tls
from gatekeeper.config.sections.upstreams import read_upstreams
from gatekeeper.config.sections.values import address, at_least
from gatekeeper.config.settings import AdminSettings, Settings
from gatekeeper.domain.document import Table
from gatekeeper.enforcement.imap.replies import RefusalCode

DEFAULT_STATE_DIRECTORY = "var"
DEFAULT_POLICY_FILE = "config/policy.toml"
MAX_WORKERS = 64
"""More than a machine's cores bring nothing."""


def read_settings(root: Table, source: str) -> Settings:
    """The settings; they stand only when no fault was recorded."""
    notes: list[str] = []
    server = root.table("server")
    listeners = read_listeners(root)
    refusal, policy, store = root.table("refusal"), root.table("policy"), root.table("store")
    throttle, refusals = read_throttle(root.table("throttle"))
    accounts = read_accounts(root)
    binding = read_binding(root.table("binding"), notes)
    hostname = server.text("hostname", socket.gethostname() or "localhost")
    state = Path(server.text("state_directory", DEFAULT_STATE_DIRECTORY))
    audit = read_audit(root.table("audit"), hostname, state)
    settings = Settings(
        source=source,
        state_directory=state,
        workers=server.integer("workers", 1, low=1, high=MAX_WORKERS),
        drain_timeout=server.duration("drain_timeout", "30s"),
        hostname=hostname,
        check_url=server.text("check_url", "", max_length=200),
        idle_timeout=at_least(server, "idle_timeout", "60m", timedelta(minutes=1)),
        refusal_code=refusal.choice("imap_code", RefusalCode, RefusalCode.UNAVAILABLE),
        limits=read_limits(root.table("limits")),
        throttle=throttle,
        refusals=refusals,
        tls=read_tls(root, listeners),
        listeners=listeners,
        upstreams=read_upstreams(root, listeners),
        accounts=accounts,
        binding=binding,
        policy_file=Path(policy.text("file", DEFAULT_POLICY_FILE)),
        bundles=read_bundles(policy, accounts.names),
        break_glass=read_break_glass(policy, audit.origin),
        groups=read_groups(root.table("groups")),
        store_url=_store_url(store),
        audit=audit,
        evidence=read_evidence(root),
        admin=_admin(root.table("admin")),
        notes=tuple(notes),
    )
    for table in (server, refusal, policy, store, root):
        table.done()
    return settings


def _store_url(table: Table) -> str:
    url = table.text("url", "sqlite:///var/gatekeeper.sqlite3")
    if url and not url.startswith("sqlite:///"):
        table.fault("url", "only SQLite in this version: sqlite:///PATH")
    return url


def _admin(table: Table) -> AdminSettings:
    host, port = address(table, "bind", "127.0.0.1:9080")
    table.done()
    return AdminSettings(host=host, port=port)
