"""The limits that every form of evidence shares, and what a text in it may contain."""

from datetime import timedelta

MAX_APPS = 2_000
"""Apps of one device in one list; a well-used phone has 150 to 300."""
MAX_NAME_LENGTH = 255
"""Device ids, app ids, identifiers. Android limits a package name by its file name, 255 octets."""
MAX_VERSION_LENGTH = 64
CLOCK_SKEW = timedelta(seconds=60)
"""How far another clock may run ahead of ours or behind it."""


def flaw(text: str, max_length: int) -> str | None:
    """What is wrong with a display text from outside (name, version), or None.

    Invisible marks stay allowed: real app names begin with a left-to-right mark. Controls and lone surrogates do not:
    they could not be written to a log line or a database as they are.
    """
    if not text:
        return "must not be empty"
    if len(text) > max_length:
        return f"longer than {max_length} characters"
    if not text.isprintable() and any(_is_unwritable(char) for char in text):
        return "contains control characters"
    return None


def name_flaw(text: str) -> str | None:
    """What is wrong with a text that names something (device, app, identifier), or None.

    Stricter than `flaw`: names are compared, so nothing invisible may hide in them.
    """
    problem = flaw(text, MAX_NAME_LENGTH)
    if problem is None and not text.isprintable():
        return "contains invisible characters"
    if problem is None and text != text.strip():
        return "begins or ends with a space"
    return problem


def _is_unwritable(char: str) -> bool:
    return char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" or char in "\u2028\u2029"
