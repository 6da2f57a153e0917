"""The policy and the one pure function that weighs it: no I/O, no clock, standard library and `domain` only.

* `patterns`, `versions`  what an id, a name, a version may be compared with
* `matcher`, `index`      one app matcher; all matchers of a policy, indexed for set intersections
* `policy`                the frozen rule tree, compiled on construction
* `schema`, `lint`        TOML -> policy, every fault at once; what is allowed but probably not meant
* `judgement`, `decide`   one device by one policy; the `Decision` over all devices of a session
* `message`, `explain`    what the phone's owner is told; what the help desk is told
"""
