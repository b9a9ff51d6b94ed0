"""Access-key secrets at rest: readable for signatures, encrypted where a passphrase was given."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.registry import access_key, cause, sqlite_store, with_accounts

from handfast.errors import ConfigurationError
from handfast.storage.secretbox import SecretBox, is_sealed, open_plain, seal_plain
from handfast.storage.sql import SQLStore

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def test_a_sealed_secret_opens_again_under_its_name_only() -> None:
    box = SecretBox.create(b"passphrase")
    sealed = box.seal(SECRET, "AKIA1")
    assert is_sealed(sealed)
    assert SECRET not in sealed
    assert SECRET == box.open(sealed, "AKIA1")
    assert SECRET == SecretBox.from_header(box.header(), b"passphrase").open(sealed, "AKIA1")
    with pytest.raises(ConfigurationError):
        box.open(sealed, "AKIA2")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    box = SecretBox.create(b"passphrase")
    assert box.seal(SECRET, "AKIA1") != box.seal(SECRET, "AKIA1")


@pytest.mark.parametrize("damaged", ["aes256gcm:", "aes256gcm:AAAA", "aes256gcm:!!!!", "aes256gcm:" + "A" * 80, ""])
def test_a_damaged_value_is_refused(damaged: str) -> None:
    with pytest.raises(ConfigurationError):
        SecretBox.create(b"passphrase").open(damaged, "AKIA1")


def test_a_plain_value_is_readable_without_a_passphrase_and_a_sealed_one_is_not() -> None:
    assert SECRET == open_plain(seal_plain(SECRET))
    with pytest.raises(ConfigurationError, match="--key-passphrase-file"):
        open_plain(SecretBox.create(b"passphrase").seal(SECRET, "AKIA1"))


def bytes_of(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.iterdir())


async def test_with_a_passphrase_no_secret_stands_in_the_files(tmp_path: Path) -> None:
    key = access_key(1, secret=SECRET)
    async with sqlite_store(tmp_path, passphrase=b"open sesame") as store:
        await with_accounts(store)
        await store.add_access_key(key, cause())
        assert key == await store.access_key(key.access_key_id)
    assert SECRET.encode() not in bytes_of(tmp_path)
    async with sqlite_store(tmp_path, passphrase=b"open sesame") as store:
        assert key == await store.access_key(key.access_key_id)


@pytest.mark.parametrize(
    ("passphrase", "message"),
    [(None, "give --key-passphrase-file"), (b"guess", "does not open the access-key secrets")],
)
async def test_the_passphrase_is_needed_from_then_on(tmp_path: Path, passphrase: bytes | None, message: str) -> None:
    async with sqlite_store(tmp_path, passphrase=b"open sesame"):
        pass
    with pytest.raises(ConfigurationError, match=message):
        await SQLStore.open(tmp_path / "handfast.db", passphrase=passphrase)
    async with sqlite_store(tmp_path, passphrase=b"open sesame"):
        pass


async def test_the_first_passphrase_encrypts_what_was_plain(tmp_path: Path) -> None:
    key = access_key(1, secret=SECRET)
    async with sqlite_store(tmp_path) as store:
        await with_accounts(store)
        await store.add_access_key(key, cause())
    assert SECRET.encode() in bytes_of(tmp_path)
    async with sqlite_store(tmp_path, passphrase=b"open sesame") as store:
        assert [key] == await store.access_keys(key.account_id)
    assert SECRET.encode() not in (tmp_path / "handfast.db").read_bytes()
