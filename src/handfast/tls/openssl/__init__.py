"""
Server-side TLS over memory, without sockets, loop or clock: the only package of the server that touches OpenSSL.

Two engines behind one interface (`engine`). `direct` calls the OpenSSL functions of
the `cryptography` wheel through pyOpenSSL's lower-level binding on one shared
buffer, with no exception and no allocation for "nothing to read". That binding
is private (`binding`): every symbol used is looked up at import. Where one is
missing, or `HANDFAST_TLS_ENGINE=public` is set, `public` does the same with
pyOpenSSL's public methods only (`choice`). Both pass the same tests.

A client certificate of any issuer is accepted here: the handshake proves
possession of its key, the registry decides afterwards. A callback that raises,
whatever it raises, refuses.
"""
