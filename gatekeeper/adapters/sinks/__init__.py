"""Where audit records go: the log on disk with its one writer, and its reading side."""
