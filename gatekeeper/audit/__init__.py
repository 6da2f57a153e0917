"""Audit: what is recorded, how a record becomes a line, how lines are chained and verified. Pure."""
