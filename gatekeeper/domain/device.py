"""What a device is: its stable id, whose it is, and what kind."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import NewType

DeviceId = NewType("DeviceId", str)


class Platform(StrEnum):
    """Operating system family, as in the evidence profile's `inv_platform`."""

    ANDROID = "android"
    IOS = "ios"
    IPADOS = "ipados"
    VISIONOS = "visionos"
    HARMONY = "harmony"
    WINDOWS = "windows"
    MACOS = "macos"
    LINUX = "linux"


class DeviceClass(StrEnum):
    """What a rule's `scope.device_class` names."""

    MOBILE = "mobile"
    LAPTOP = "laptop"


class Ownership(StrEnum):
    """Who owns the device."""

    COMPANY = "company"
    PERSONAL = "personal"


APPLE_MOBILE = frozenset({Platform.IOS, Platform.IPADOS, Platform.VISIONOS})
"""Platforms that share bundle identifiers: a matcher for `ios` is meant for all of them."""

MOBILE_PLATFORMS = APPLE_MOBILE | {Platform.ANDROID, Platform.HARMONY}

_NO_IDENTIFIERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A registered device."""

    device_id: DeviceId
    account: str
    """Canonical mail login of the owner (`domain.identity.canonical_account`)."""
    platform: Platform
    device_class: DeviceClass
    ownership: Ownership | None = None
    """None: not known, so a rule that asks for it can be neither true nor false."""
    identifiers: Mapping[str, str] = field(default_factory=lambda: _NO_IDENTIFIERS)
    """Other names: `certificate_sha256`, `serial`, `eas_device_id`, ...; values as the source wrote them."""
    first_seen: datetime | None = field(default=None, compare=False)
    """When it was registered (aware UTC); None: not known, so no grace of a rule runs for it."""


def default_device_class(platform: Platform) -> DeviceClass:
    """The class of a device whose source does not state one."""
    return DeviceClass.MOBILE if platform in MOBILE_PLATFORMS else DeviceClass.LAPTOP
