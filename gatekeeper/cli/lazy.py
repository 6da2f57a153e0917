"""A group of commands that are imported only when they are called: none pays for what only another one needs."""

import importlib
from collections.abc import Mapping

import click


class LazyGroup(click.Group):
    """Commands by name, each with its place (`module:name`), before those that are added as usual."""

    def __init__(self, *, places: Mapping[str, str], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]  # whatever click.group was given
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, for help."""
        return [*self._places, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now."""
        place = self._places.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command
