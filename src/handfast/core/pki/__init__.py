"""Keys, names, profiles, issuing and chain verification (RFC 5280)."""
