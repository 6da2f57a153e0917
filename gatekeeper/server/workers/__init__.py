"""Several workers: one parent that forks, watches and restarts them, and carries what they have to say to each other.

With `workers = 1` nothing of this is imported.
"""
