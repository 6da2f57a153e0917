"""Gatekeeper: a posture gate in front of a mail server.

The map, from the top floor down (imports go down only; `make check` holds the code to it):

* `cli`          the commands: arguments, exit codes, words on the screen
* `server`       the composition root: builds the adapters, runs listeners, signals, reload, health, admin port
* `config`       TOML -> the frozen settings of each part
* `enforcement`  the fronts that speak a mail protocol, all driven by the one `flow`; beside it
  `adapters`     stores and sinks, which implement `ports`
* `gate`         the one way in: identify the device, decide, record, admit; the sessions that are open
* `ports`        what the gate needs from adapters, as protocols
* `decision`     policy, and the pure function `decide`;     `attestation`  evidence -> attestation result
  `audit`        the record, its chain, its verification;    `protocols`    IMAP, SMTP, Sieve, SASL, no I/O
  `net`          TLS, dialling, listening, relaying on one epoll
* `domain`       frozen values, standard library only
"""

__version__ = "0.1.0"
