"""Where the members of a directory's groups come from."""
