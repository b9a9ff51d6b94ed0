"""What is told of certificates' states, put together for the server: OCSP staples of the operator's certificates."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from handfast.ports import Clock, Entropy, Meter
from handfast.responders.fetch import HttpResponders
from handfast.services.staple_files import StapleFiles
from handfast.services.stapling import Stapler
from handfast.tls.contexts import Contexts


def start_stapling(
    data_dir: Path, contexts: Contexts, clock: Clock, entropy: Entropy, meter: Meter, stack: AsyncExitStack
) -> Stapler:
    """Certificates that are watched are stapled in the handshakes of `contexts`, until the stack is left."""
    stapler = Stapler(HttpResponders(), contexts.staple, StapleFiles(data_dir), clock, entropy, meter)
    stack.push_async_callback(stapler.close)
    return stapler
