"""The table of server certificates: what is taken, what is refused, and that a reload is a new table."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from tests.support.tls_ca import ServerChains, issue, new_key, server_chains
from tests.support.tls_door import contexts, running_door

from handfast.core.identity.security_policy import SECURITY_POLICIES
from handfast.errors import ConfigurationError
from handfast.tls.contexts import ALPN_HTTP11, ALPN_MQTT
from handfast.tls.openssl.engine import Engine

CHAINS = server_chains()


class TestInstall:
    def test_what_is_installed_is_found_by_region_and_kind(self, engine: type[Engine]) -> None:
        table = contexts(engine, regions=("eu-west-1",))
        assert {"us-east-1", "eu-west-1"} == table.names()
        assert CHAINS.rsa.certificate == table.leaf("us-east-1", "rsa")
        assert table.get("us-east-1", "rsa", True, None) is not None
        assert table.get("mars-north-1", "rsa", True, None) is None
        assert table.leaf("mars-north-1", "rsa") is None

    def test_what_is_removed_is_found_no_more_and_the_others_are(self, engine: type[Engine]) -> None:
        table = contexts(engine, regions=("eu-west-1",))
        table.remove("eu-west-1")
        assert {"us-east-1"} == table.names()
        assert table.get("eu-west-1", "rsa", True, None) is None
        assert table.leaf("eu-west-1", "ecdsa") is None
        assert table.get("us-east-1", "ecdsa", True, None) is not None

    def test_a_context_is_made_once(self, engine: type[Engine]) -> None:
        table = contexts(engine)
        seen = [
            table.get("us-east-1", kind, client_auth, alpn)
            for kind in ("rsa", "ecdsa")
            for client_auth, alpn in ((True, None), (True, ALPN_MQTT), (False, None), (False, ALPN_HTTP11))
        ]
        assert 8 == len(set(map(id, seen)))
        assert seen[3] is table.get("us-east-1", "rsa", False, ALPN_HTTP11)

    @pytest.mark.parametrize(
        ("kind", "chain", "key", "words"),
        [
            ("rsa", lambda c: b"nonsense", lambda c: c.rsa.key_pem, "cannot be read"),
            ("rsa", lambda c: c.rsa.chain_pem, lambda c: b"nonsense", "cannot be read"),
            ("rsa", lambda c: c.ecdsa.chain_pem, lambda c: c.ecdsa.key_pem, "another kind"),
            ("ecdsa", lambda c: c.rsa.chain_pem, lambda c: c.rsa.key_pem, "another kind"),
            ("rsa", lambda c: c.rsa.chain_pem, lambda c: new_rsa_key_pem(), "do not belong together"),
            ("rsa", lambda c: c.rsa.chain_pem + c.rsa_root.pem, lambda c: c.rsa.key_pem, "holds the root"),
            ("rsa", lambda c: c.rsa.pem + c.rsa_root.pem, lambda c: c.rsa.key_pem, "out of order"),
            ("ecdsa", lambda c: c.ecdsa.pem + c.rsa.chain_pem, lambda c: c.ecdsa.key_pem, "out of order"),
        ],
    )
    def test_what_cannot_be_served_is_refused_and_changes_nothing(
        self,
        engine: type[Engine],
        kind: str,
        chain: Callable[[ServerChains], bytes],
        key: Callable[[ServerChains], bytes],
        words: str,
    ) -> None:
        table = contexts(engine)
        before = table.get("us-east-1", "rsa", True, None)
        with pytest.raises(ConfigurationError, match=words):
            table.install("us-east-1", kind, chain(CHAINS), key(CHAINS))  # type: ignore[arg-type]
        assert before is table.get("us-east-1", "rsa", True, None)

    def test_each_policy_has_a_context_of_its_own(self, engine: type[Engine]) -> None:
        table = contexts(engine)
        seen = [table.get("us-east-1", "rsa", True, None, policy) for policy in SECURITY_POLICIES.values()]
        assert 6 == len(set(map(id, seen)))
        assert table.get("us-east-1", "rsa", True, None) is seen[list(SECURITY_POLICIES).index(table.policy.name)]


def new_rsa_key_pem() -> bytes:
    return issue("other", new_key("rsa2048", 8)).key_pem


async def test_a_renewed_certificate_is_served_from_the_next_connection_on(engine: type[Engine]) -> None:
    table = contexts(engine)
    async with running_door(table) as door:
        reader, writer = await door.connect()
        intermediate = issue("New Intermediate", new_key("rsa2048", 6), CHAINS.rsa_root, ca=True)
        renewed = issue("renewed", new_key("rsa2048", 5), intermediate, names=("localhost",))
        table.install("us-east-1", "rsa", renewed.pem + intermediate.pem, renewed.key_pem)
        _, second = await door.connect()
        served = second.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert renewed.der == served
        assert renewed.pem.decode() != ssl.DER_cert_to_PEM_cert(CHAINS.rsa.der)
        # The connection that was open keeps what it has, and works.
        writer.write(b"still here")
        assert b"still here" == await reader.readexactly(10)
        writer.close()
        second.close()
