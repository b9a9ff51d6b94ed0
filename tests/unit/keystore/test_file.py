"""Keys as files: sealed, private, whole; and the pool of device keys."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from tests.support.pki import RealEntropy, key_of, openssl

from handfast.core.pki import keyfile
from handfast.core.pki.issue import spki
from handfast.errors import CertificateInputError, ConfigurationError, ServiceUnavailableError
from handfast.keystore.file import FileKeyStore, generate_key
from handfast.keystore.pool import KeyPool


def store(folder: Path, passphrase: bytes | None = None) -> FileKeyStore:
    return FileKeyStore(folder, passphrase, RealEntropy())


@pytest.mark.parametrize("passphrase", [None, b"secret \xc3\xa9"])
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384"])
def test_a_key_comes_back(tmp_path: Path, kind: str, passphrase: bytes | None) -> None:
    key = store(tmp_path / "keys", passphrase).generate("a/b", kind)
    again = store(tmp_path / "keys", passphrase).signing_key("a/b")
    assert spki(key.public_key()) == spki(again.public_key())


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    store(tmp_path / "keys").generate("a/b", "p256")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").rglob("*")}
    assert {"a": 0o700, "b.key": 0o600} == modes


def test_openssl_reads_a_sealed_key(tmp_path: Path) -> None:
    store(tmp_path, b"secret").generate("root", "p256")
    path = tmp_path / "root.key"
    assert "scrypt" in openssl("asn1parse", "-in", path)
    assert "NIST CURVE: P-256" in openssl("pkey", "-in", path, "-passin", "pass:secret", "-noout", "-text")


def test_a_sealed_key_needs_its_passphrase(tmp_path: Path) -> None:
    store(tmp_path, b"secret").generate("root", "p256")
    with pytest.raises(ConfigurationError, match="no passphrase was given"):
        store(tmp_path).signing_key("root")
    with pytest.raises(ConfigurationError, match="does not open"):
        store(tmp_path, b"other").signing_key("root")


def test_turning_encryption_on_seals_the_keys_that_are_there(tmp_path: Path) -> None:
    plain = store(tmp_path).generate("root", "p256")
    sealed = store(tmp_path, b"secret").signing_key("root")
    assert spki(plain.public_key()) == spki(sealed.public_key())
    assert keyfile.is_encrypted((tmp_path / "root.key").read_bytes())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    store(tmp_path).generate("root", "p256")
    (tmp_path / "root.key").chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        store(tmp_path).signing_key("root")


def test_a_folder_that_others_may_read_is_refused(tmp_path: Path) -> None:
    store(tmp_path / "keys").generate("root", "p256")
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(ConfigurationError, match="chmod 700"):
        store(tmp_path / "keys").signing_key("root")


def test_links_and_damage_are_refused(tmp_path: Path) -> None:
    keys = store(tmp_path)
    keys.generate("root", "p256")
    (tmp_path / "link.key").symlink_to(tmp_path / "root.key")
    (tmp_path / "damaged.key").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    (tmp_path / "damaged.key").chmod(0o600)
    (tmp_path / "huge.key").write_bytes(b"x" * 100_000)
    (tmp_path / "huge.key").chmod(0o600)
    for name in ("link", "damaged", "huge", "missing"):
        with pytest.raises(ConfigurationError):
            keys.signing_key(name)


@pytest.mark.parametrize("name", ["../root", "a/b/c", "", "A", "a.b", "/etc/passwd"])
def test_names_do_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a key name"):
        store(tmp_path).has(name)


def test_names_lists_and_remove_removes(tmp_path: Path) -> None:
    keys = store(tmp_path)
    keys.generate("a/x", "p256")
    keys.generate("a/y", "p256")
    keys.remove("a/x")
    keys.remove("a/x")
    assert ["a/y"] == keys.names("a")
    assert not keys.has("a/x")


def test_the_port_signs_and_shows_the_public_key(tmp_path: Path) -> None:
    keys = store(tmp_path)
    keys.generate("r", "rsa2048")
    keys.generate("e", "p256")
    for name in ("r", "e"):
        public = load_pem_public_key(keys.public_key_pem(name))
        signature = keys.sign(name, b"data")
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, b"data", padding.PKCS1v15(), hashes.SHA256())
        else:
            assert isinstance(public, ec.EllipticCurvePublicKey)
            public.verify(signature, b"data", ec.ECDSA(hashes.SHA256()))


def test_an_error_never_quotes_the_key() -> None:
    pem = keyfile.encode(key_of("p256"), None, b"")
    lines = pem.decode().splitlines()
    with pytest.raises(CertificateInputError) as caught:
        keyfile.decode(pem.replace(lines[1][:8].encode(), b"AAAAAAAA"), None)
    assert lines[1][8:24] not in str(caught.value)


def test_unknown_kinds_are_a_bug() -> None:
    with pytest.raises(ValueError, match="rsa1024"):
        generate_key("rsa1024")


class TestPool:
    async def test_every_key_is_handed_out_once(self) -> None:
        pool = KeyPool(size=2)
        pool.fill()
        keys = await asyncio.gather(*(pool.take() for _ in range(5)))
        await pool.close()
        assert 5 == len({key.public_key().public_numbers().n for key in keys})
        assert {(2048, 65537)} == {(key.key_size, key.public_key().public_numbers().e) for key in keys}

    async def test_a_pool_that_nobody_uses_stays_small_and_grows_with_use(self) -> None:
        pool = KeyPool(size=3, at_first=1)
        pool.fill()
        for expected in (1, 2, 3, 3):
            async with asyncio.timeout(30):
                while pool.ready < expected:
                    await asyncio.sleep(0.01)
            assert expected == pool.ready
            await pool.take()
        await pool.close()

    async def test_the_loop_goes_on_while_keys_are_made(self) -> None:
        pool = KeyPool(size=1)
        taking = asyncio.create_task(pool.take())
        turns = 0
        while not taking.done():
            await asyncio.sleep(0)
            turns += 1
        await pool.close()
        assert turns > 10

    async def test_waiting_callers_are_bounded(self) -> None:
        pool = KeyPool(size=1, max_waiting=1)
        first = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        with pytest.raises(ServiceUnavailableError):
            await pool.take()
        assert await first
        await pool.close()

    async def test_a_closed_pool_keeps_nothing(self) -> None:
        pool = KeyPool(size=2)
        pool.fill()
        await pool.close()
        assert 0 == pool.ready
        with pytest.raises(ServiceUnavailableError):
            await pool.take()
