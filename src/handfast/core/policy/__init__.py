"""The policy language: parse a document, substitute a connection's variables, decide, and say why."""
