"""One server-side TLS connection: what both engines promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate
from OpenSSL import SSL

from handfast.core.identity.security_policy import DEFAULT_SECURITY_POLICY, SECURITY_POLICIES, SecurityPolicy

WANT_READ: Final = 0
DONE: Final = 1
FAILED: Final = 2

MAX_FEED_BYTES: Final = 16 * 1024
"""The most that `receive` takes at once: bounds the plaintext of one call and the growth of the memory BIO."""
MAX_ENCRYPT_BYTES: Final = 64 * 1024
"""The most that `encrypt` takes at once."""
BUFFER_BYTES: Final = MAX_ENCRYPT_BYTES + 16 * 1024
"""What is taken from OpenSSL at once."""

DEFAULT_POLICY: Final = SECURITY_POLICIES[DEFAULT_SECURITY_POLICY]

Context = SSL.Context
"""What connections of one certificate, policy and ALPN have in common; opaque to everybody else."""
AcceptCertificate = Callable[[], bool]


def accept_any() -> bool:
    """The verify callback's answer: any chain will do."""
    return True


class Engine(Protocol):
    """
    One server-side TLS connection.

    First `handshake` until DONE or FAILED, then `receive` and `encrypt`. Whatever
    OpenSSL wants to send meanwhile waits for `drain`. After a failure `errors` holds
    OpenSSL's reasons, the first one first.
    """

    errors: tuple[str, ...]
    failed: bool
    closed: bool
    attention: bool
    """Set when `failed`, `closed` or `events` changed in `receive`; whoever looks resets it."""

    @property
    def events(self) -> int:
        """How often a message other than data was read or answered since the handshake: KeyUpdate, renegotiation."""
        ...

    @classmethod
    def context(
        cls,
        chain: list[Certificate],
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
        *,
        client_auth: bool,
        alpn: bytes | None,
        policy: SecurityPolicy = DEFAULT_POLICY,
        accept: AcceptCertificate = accept_any,
    ) -> Context:
        """What `__init__` takes. `alpn` is what is selected; a client that does not offer it gets alert 120."""
        ...

    def __init__(self, context: Context) -> None: ...

    def handshake(self, data: bytes) -> int:
        """Feed `data` and go on with the handshake: WANT_READ, DONE or FAILED."""
        ...

    def drain(self) -> bytes:
        """What is to be sent now; b"" for nothing."""
        ...

    def receive(self, data: bytes) -> bytes:
        """
        The plaintext in `data` (at most MAX_FEED_BYTES) and what was fed before; b"" while there is none.

        Sets `closed` at a close_notify and `failed` when the peer broke TLS.
        """
        ...

    def encrypt(self, data: bytes) -> bytes:
        """Records for `data` (1 to MAX_ENCRYPT_BYTES bytes), behind whatever else was waiting to be sent."""
        ...

    def shut_down(self) -> bytes:
        """What is to be sent last: a close_notify, where one can still be sent."""
        ...

    def release(self) -> bool:
        """Give back the memory that a handshake or a burst has left in the buffers; False: they are not empty."""
        ...

    def peer_certificate(self) -> bytes:
        """The DER of the client's certificate; b"" where none was asked for."""
        ...

    def version(self) -> str: ...

    def cipher(self) -> str: ...

    def group(self) -> str | None: ...
