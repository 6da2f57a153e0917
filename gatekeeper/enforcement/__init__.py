"""Enforcement points: each speaks one mail protocol with phones; all are driven by the one flow.

A protocol is a package here with a `POINT` (and its counterpart under `protocols`); nothing else has to know of it.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from gatekeeper.domain.request import MailProtocol

if TYPE_CHECKING:
    from gatekeeper.enforcement.flow.point import EnforcementPoint


@cache
def points() -> "Mapping[MailProtocol, EnforcementPoint]":
    """The protocols that are spoken."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    spoken: list[EnforcementPoint] = [module.POINT for module in modules if hasattr(module, "POINT")]
    return {point.protocol: point for point in spoken}
