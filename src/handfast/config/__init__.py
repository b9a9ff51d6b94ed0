"""The settings: as they are written (flags, environment, handfast.toml), and as validated."""
