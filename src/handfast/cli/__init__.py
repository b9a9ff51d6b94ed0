"""The command line: prints, exits, and owns no logic."""
