"""The one flow of every enforcement point.

accept → TLS → greeting → dialogue until credentials → log in upstream with them → `gate.admit` → durable audit record →
relay | refusal with its reason → close, with one terminal audit record.

`front`       what the connections of one listener share, and the deadlines they run under
`dialogue`    what a protocol's enforcement point implements
`connection`  one connection until its log-in, and its exit: PROXY header, TLS, dialogue
`flow`        its log-ins, until it is admitted
`account`     whose mailbox a log-in opens, and who opens it
`attempt`     its log-ins, as throttle and memory of refusals see them
`upstream`    its log-in at the mail server
`live`        one connection after admission
"""
