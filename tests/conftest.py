"""What every test shares: their order; a failure shows the servers' logs; the end of a run lists what was left out."""

import gc
import logging
from collections import defaultdict
from collections.abc import Generator, Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from testkit.running import running

_LOG_TAIL = 40
_MATRIX = "_matrix.py::"
_LONG_FILES_IN = ("e2e", "attacks")
"""They go first: files are dealt out to processes one by one, and short ones at the end let all end together."""

# A processor that is busy with something else is no fault, and what was green stays so until somebody changes something.
settings.register_profile(
    "suite", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put directories with long files first; a name must be the same in all processes, or none of them runs anything."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: has a memory address in its name: give the parameters `ids`")
    ranks = {config.rootpath / "tests" / name: rank for rank, name in enumerate(_LONG_FILES_IN)}
    items.sort(key=lambda item: min(ranks.get(folder, len(ranks)) for folder in item.path.parents))


def pytest_collection_finish() -> None:
    """Let the collector pass over what is there for the whole run: tests that call it need what came since."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _logs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that runs `serve` here configures the logs of the process: no other test is to lose its own by that."""
    configure = structlog.configure
    monkeypatch.setattr(structlog, "configure", lambda **how: configure(**how | {"cache_logger_on_first_use": False}))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the log of every running server to the report of a failure."""
    report = yield
    if report.failed:
        for name, program in running.items():
            tail = "\n".join(program.log().splitlines()[-_LOG_TAIL:])
            report.sections.append((f"log of {name}", tail))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the matrix of clients, and list what could not run, grouped by the reason."""
    _show_matrix(terminalreporter)
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out[reason.removeprefix("Skipped: ")].append(report.nodeid)
    if not left_out:
        terminalreporter.write_sep("=", "nothing was left out")
        return
    terminalreporter.write_sep("=", "left out, and why")
    for reason, tests in sorted(left_out.items()):
        terminalreporter.write_line(f"{len(tests):4} tests: {reason}")
        for test in sorted({one.split("::")[0] for one in tests}):
            terminalreporter.write_line(f"       {test}")


def _show_matrix(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each client and server: what was seen to work, and what was not."""
    rows: dict[str, list[str]] = defaultdict(list)
    for outcome, mark in (("passed", ""), ("failed", "!"), ("error", "!"), ("skipped", "?")):
        for report in terminalreporter.stats.get(outcome, []):
            if _MATRIX in report.nodeid and (report.when == "call" or mark):
                client, server, action = report.nodeid.partition("[")[2].rstrip("]").split("-")
                rows[f"{client:12} {server:8}"].append(mark + action)
    if rows:
        terminalreporter.write_sep("=", "clients through the gate (! fails, ? left out)")
    for row, actions in rows.items():
        terminalreporter.write_line(f"{row} {' '.join(actions)}")
