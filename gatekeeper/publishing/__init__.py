"""How a policy comes into force: pure, the time is an argument.

* `bundle`    one version of the policy: the files, and the signed statement about them
* `approval`  whose signatures make a bundle good, and what makes it bad
"""
