"""The TLS front door: ClientHello, contexts, engine, transport."""
