"""`[groups]`: a file, LDAP or SCIM; each fault told with its key and what to do about it."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from gatekeeper.adapters.groups.settings import LdapServer, LdapSettings, ScimSettings
from gatekeeper.config.load import load
from gatekeeper.domain.document import DocumentError
from testkit.configuration import Configuration


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    """The example with its files, and two secrets."""
    (tmp_path / "password").write_text("secret")
    (tmp_path / "token").write_text("secret")
    return Configuration(tmp_path)


def _faults(configuration: Configuration, groups: dict[str, object]) -> list[str]:
    """What is wrong, without the file's name."""
    configuration.write({"groups": groups})
    try:
        load(configuration.path, {})
    except DocumentError as error:
        return [str(fault).removeprefix(f"{configuration.path}: ") for fault in error.faults]
    return []


def _ldap(configuration: Configuration, **more: object) -> dict[str, object]:
    good: dict[str, object] = {
        "url": "ldaps://ldap.example.com",
        "bind_dn": "cn=gate,dc=example,dc=com",
        "password_file": str(configuration.directory / "password"),
        "base": "dc=example,dc=com",
    }
    return {"ldap": {key: value for key, value in (good | more).items() if value is not None}}


def _scim(configuration: Configuration, **more: object) -> dict[str, object]:
    good: dict[str, object] = {
        "url": "https://scim.example.com/v2/",
        "token_file": str(configuration.directory / "token"),
    }
    return {"scim": {key: value for key, value in (good | more).items() if value is not None}}


def test_ldap_is_taken_as_written(configuration: Configuration) -> None:
    """With its defaults; several servers keep their order."""
    groups = _ldap(configuration, url=["ldap://[::1]:3389", "ldaps://b.example.com/"], members="memberOf", nested=0)
    assert _faults(configuration, {"refresh": "1m", "keep": "7d", **groups}) == []
    asked = load(configuration.path, {}).groups.asked
    assert asked is not None
    assert (asked.refresh, asked.keep, asked.timeout) == (
        timedelta(minutes=1),
        timedelta(days=7),
        timedelta(minutes=1),
    )
    directory = asked.directory
    assert isinstance(directory, LdapSettings)
    assert directory.servers == (
        LdapServer(host="::1", port=3389, is_implicit=False),
        LdapServer(host="b.example.com", port=636, is_implicit=True),
    )
    assert [str(server) for server in directory.servers] == ["ldap://[::1]:3389", "ldaps://b.example.com:636"]
    assert (directory.people_base, directory.account, directory.members, directory.nested) == (
        "dc=example,dc=com",
        "mail",
        "memberOf",
        0,
    )


def test_scim_is_taken_as_written(configuration: Configuration) -> None:
    """With its defaults."""
    assert _faults(configuration, _scim(configuration, account="emails")) == []
    groups = load(configuration.path, {}).groups
    assert groups.file is None
    assert groups.asked is not None
    directory = groups.asked.directory
    assert isinstance(directory, ScimSettings)
    assert str(directory) == "https://scim.example.com:443/v2"
    assert (directory.account, directory.name, directory.nested) == ("emails", "displayName", 5)


def test_another_meaning_is_another_answer(configuration: Configuration) -> None:
    """What an answer depends on is told apart; where the directory is, and who asks, is not part of it."""
    meanings = set()
    for more in ({}, {"url": "ldap://elsewhere"}, {"account": "uid"}, {"base": "dc=a"}, {"members": "memberUid"}):
        assert _faults(configuration, _ldap(configuration, **more)) == []
        asked = load(configuration.path, {}).groups.asked
        assert asked is not None
        meanings.add(asked.meaning)
    assert len(meanings) == 4


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"url": None}, "groups.ldap.url: is required"),
        ({"url": []}, "groups.ldap.url: must name 1 to 16 servers"),
        *(
            (
                {"url": url},
                f"groups.ldap.url: `{url}` is not ldaps://HOST[:PORT], or ldap://HOST[:PORT], which begins with StartTLS",
            )
            for url in ("ldap.example.com", "https://a", "ldaps://a:b", "ldap://a/dc=x", "ldapi://x", "ldap://u@h")
        ),
        ({"base": None}, "groups.ldap.base: is required"),
        ({"password_file": None}, "groups.ldap.password_file: is required: bind_dn and password_file go together"),
        ({"password_file": "absent"}, "groups.ldap.password_file: `absent` does not exist"),
        ({"password": "x"}, "groups.ldap.password: unknown key (did you mean `password_file`?)"),
        (
            {"bind_dn": None, "password_file": None},
            "groups.ldap: who asks? give bind_dn and password_file, or client_certificate and client_key",
        ),
        (
            {"client_certificate": "a.pem"},
            "groups.ldap.client_key: is required: client_certificate and client_key go together",
        ),
        ({"ca": "absent"}, "groups.ldap.ca: `absent` does not exist"),
        ({"filter": "(cn=a"}, "groups.ldap.filter: `(cn=a` is no LDAP filter: "),
        ({"nested": 21}, "groups.ldap.nested: must lie between 0 and 20"),
    ],
)
def test_faults_of_ldap(configuration: Configuration, more: dict[str, object], fault: str) -> None:
    """One line each."""
    found = _faults(configuration, _ldap(configuration, **more))
    assert any(each.startswith(fault) for each in found), found


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (
            {"url": "http://scim.example.com"},
            "groups.scim.url: `http://scim.example.com` is not https://HOST[:PORT]/PATH",
        ),
        ({"token_file": None}, "groups.scim.token_file: is required: a file with the bearer token"),
        ({"token_file": "absent"}, "groups.scim.token_file: `absent` does not exist"),
        ({"account": "mail"}, "groups.scim.account: `mail` is not one of userName, emails (did you mean `emails`?)"),
        ({"tokn": "x"}, "groups.scim.tokn: unknown key"),
    ],
)
def test_faults_of_scim(configuration: Configuration, more: dict[str, object], fault: str) -> None:
    """One line each."""
    found = _faults(configuration, _scim(configuration, **more))
    assert any(each.startswith(fault) for each in found), found


def test_one_source_that_is_kept_long_enough(configuration: Configuration) -> None:
    """Two sources could say different things; a gap between two answers would leave everybody unknown."""
    both = _faults(configuration, {**_scim(configuration), "file": "groups.csv"})
    assert both == ["groups: one source only: file, [groups.ldap] or [groups.scim]"]
    short = _faults(configuration, {**_scim(configuration), "file": None, "keep": "1m", "refresh": "5m"})
    assert short == ["groups.keep: must not be shorter than `refresh`: the groups would be unknown in between"]
    idle = _faults(configuration, {"scim": None, "file": "groups.csv", "keep": None, "refresh": "5m"})
    assert idle == ["groups.refresh: unknown key"]


def test_without_the_client_ldap_says_how_to_get_it(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra: nobody else has to install it."""
    monkeypatch.setitem(sys.modules, "sansldap", None)
    found = _faults(configuration, _ldap(configuration))
    assert found == ["groups.ldap: needs the LDAP client, an extra: pip install '.[ldap]', or pip install sansldap"]
