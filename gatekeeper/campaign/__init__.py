"""What a policy would do before it does it, and what it would have done: pure, on top of `decide` and the audit record.

* `outline`   the part of an app list that some policies can tell apart
* `classes`   the devices that some policies cannot tell apart: decided once, counted often
* `traits`    what policies ask of people and devices by name or by date
* `dates`     the coming instants at which something changes
* `plan`      what the policy in force and a candidate come to, at each date;  `planner`  makes it of an inventory
* `ledger`    the postures that devices had, held small
* `rehearsal` logged decisions performed again on them;  `judge`  one policy that does so
* `chart`     the coming burn-down as an SVG picture and as lines of text
"""
