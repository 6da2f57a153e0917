"""The configuration: TOML and environment to the frozen settings of each part. Nobody below imports it."""
