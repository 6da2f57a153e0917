"""Policies, apps and postures to read inventories with."""

from dataclasses import replace

from gatekeeper.domain.app import App, AppList
from gatekeeper.domain.posture import Posture

RULE = """
schema = 1
[[rule]]
id = "no-tiktok"
apps = [{ id = "com.zhiliaoapp.*" }]
phases = { enforce = "2020-01-01" }
"""
BY_PUBLISHER = RULE.replace('id = "com.zhiliaoapp.*"', 'publisher = "byte*"')
BY_PUBLISHER_AND_VERSION = RULE.replace('id = "com.zhiliaoapp.*"', 'publisher = "byte*", version = ">=2"')
APPS = [
    App(id="com.zhiliaoapp.musically", version="1"),
    App(id="com.ZhiliaoApp.other", version="2", publisher="ByteDance"),
    App(id="org.notes", publisher="Bytes", version="3"),
    App(id="org.calendar", publisher="Date", signer_sha256=("ab" * 32,), name="Calendar"),
    App(id="org.bare"),
]


def facts(posture: Posture) -> tuple[object, ...]:
    """What can be compared: apps in any order."""
    result = posture.result
    assert result is not None
    return (posture.device, replace(result, apps=AppList(())), set(result.apps.apps), posture.revision > 0)
