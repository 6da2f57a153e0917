"""Alembic's environment; a package so that it is installed with the rest."""
