"""Tests of the verifier; a package, so that its modules may be named as those of other floors."""
