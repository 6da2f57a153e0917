"""The composition root: the only place that builds adapters and ties the floors together.

`compose`  configuration → the parts, wired          `run`      one process: tasks, signals, drain
`reload`   a new configuration, all or nothing       `health`   what `/readyz` answers
`admin`    the admin port and the control socket     `evidence` the evidence API's work
`metrics`  what `/metrics` shows                     `probe`    what a mail server offers
"""
