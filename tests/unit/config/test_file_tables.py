"""The tables of handfast.toml that name what tasks may read."""

from __future__ import annotations

from pathlib import Path

import pytest

from handfast.config.file_tables import read_bulk_inputs
from handfast.core.provisioning.inputs import DirectoryBucket, S3Bucket
from handfast.errors import ConfigurationError

S3 = '[bulk-input.archive]\nendpoint-url = "https://s3.example.net"\nbucket = "devices"\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("[default]\naws_access_key_id = AKID\naws_secret_access_key = s%cret\n")
    return tmp_path / "handfast.toml"


def test_directories_and_buckets_are_read(file: Path) -> None:
    file.write_text(
        '[bulk-input.incoming]\ndirectory = "in"\naccounts = ["123456789012", "*"]\n'
        + S3
        + 'credentials_file = "key"\nregion = "eu-west-1"\n'
    )
    assert {
        "incoming": DirectoryBucket(directory=str(file.parent / "in"), accounts=("123456789012", "*")),
        "archive": S3Bucket(
            endpoint_url="https://s3.example.net",
            bucket="devices",
            region="eu-west-1",
            access_key_id="AKID",
            secret="s%cret",
        ),
    } == read_bulk_inputs(file)
    assert "s%cret" not in repr(read_bulk_inputs(file))
    file.write_text("")
    assert {} == read_bulk_inputs(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bulk-input = 1", "no table"),
        ("[bulk-input]\nincoming = 1", "no table"),
        ('[bulk-input.x]\ndirectory = "in"', "3 to 256"),
        ('[bulk-input.incoming]\ndirectory = "none"', "not a directory"),
        ("[bulk-input.incoming]\ndirectory = 1", "must be a text"),
        ('[bulk-input.incoming]\ndirectory = "in"\nother = "x"', "needs either"),
        ('[bulk-input.incoming]\ndirectory = "in"\naccounts = ["me"]', "account ids"),
        ('[bulk-input.incoming]\ndirectory = "in"\nbucket = "b"', "needs either"),
        (S3, "needs either"),
        (S3 + 'credentials-file = "none"', "cannot be read"),
        (S3 + 'credentials-file = "key"\nprofile = "other"', "no profile"),
        (S3.replace("https", "ftp") + 'credentials-file = "key"', "endpoint-url"),
        (S3.replace("s3.", "me:pw@s3.") + 'credentials-file = "key"', "endpoint-url"),
    ],
)
def test_what_cannot_be_used_is_told(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        read_bulk_inputs(file)


def test_credentials_that_others_can_read_are_refused(file: Path) -> None:
    (file.parent / "key").chmod(0o640)
    file.write_text(S3 + 'credentials-file = "key"')
    with pytest.raises(ConfigurationError, match="chmod 600"):
        read_bulk_inputs(file)
