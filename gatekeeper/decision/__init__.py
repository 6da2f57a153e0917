"""The policy and the one pure function that weighs it: no I/O, no clock, standard library and `domain` only.

* `patterns`, `versions`      what an id, a name, a version may be compared with
* `matcher`, `index`          one app matcher; all matchers of a policy, indexed for set intersections
* `allowlist`, `demands`      nothing but these apps; what a rule asks besides the absence of apps
* `phases`, `scope`           when a rule does what, for one device; whom it is for
* `policy`, `defaults`        the frozen rule tree, compiled on construction
* `schema`, `schema_*`        TOML -> policy, every fault at once; `json_schema` the same for editors
* `lint`, `overlap`           what is allowed but probably not meant
* `judgement`, `decide`       one device by one policy; the `Decision` over all devices of a session
* `message`, `language`       the words that a phone's owner is told, and in which language
* `tell`, `explain`, `trace`  the same decision for the person, the help desk, the operator
* `cases`, `specimen`, `trial`  tests of a policy: read, and run with coverage and mutation
"""
