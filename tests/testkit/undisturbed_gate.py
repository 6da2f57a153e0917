"""The gate as a program of its own, where nothing but the test makes it do something.

What it does by the clock would fall into whatever test is on then:

* It asks the mail servers what they offer when it starts, and not again: a server that notes every octet cannot tell
  such a question from a log-in that has not come to the credentials yet.
* A disk that has much to do beside is not taken for one that hangs.
"""

from gatekeeper.adapters.sinks import writer
from gatekeeper.cli.main import main
from gatekeeper.server import probe

_NEVER_S = 86_400.0


def _leave_alone() -> None:
    probe.RETRY_S = probe.PERIOD_S = _NEVER_S
    defaults = writer.Limits.__init__.__kwdefaults__
    assert defaults is not None
    defaults["stall_limit_s"] = 60.0


if __name__ == "__main__":
    _leave_alone()
    main()
