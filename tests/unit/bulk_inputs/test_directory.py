"""No key leads out of the directory that the operator configured."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handfast.bulk_inputs.configured import MAX_INPUT_BYTES, ConfiguredInputs
from handfast.bulk_inputs.directory import open_below
from handfast.core.identity.ids import AccountId
from handfast.core.provisioning.inputs import DirectoryBucket
from handfast.errors import InputUnavailable

FIRST, OTHER = AccountId("123456789012"), AccountId("210987654321")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`in/` with files, beside a secret that links lead to."""
    root = tmp_path / "in"
    (root / "a" / "b").mkdir(parents=True)
    (root / "lines").write_text("one\ntwo\n")
    (root / "a" / "b" / "deep").write_text("deep\n")
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret").write_text("secret\n")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "inner").symlink_to(root / "lines")
    (root / "a" / "folder").symlink_to(tmp_path / "out")
    os.link(tmp_path / "secret", root / "second-name")
    os.mkfifo(root / "pipe")
    return root


def read(place: Path, key: str) -> bytes:
    found = open_below(str(place), key)
    try:
        return found.read(999)
    finally:
        found.close()


def test_a_key_is_a_path_below_the_directory(place: Path) -> None:
    assert b"one\ntwo\n" == read(place, "lines")
    assert b"deep\n" == read(place, "a/b/deep")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        ".",
        "..",
        "../secret",
        "a/../../secret",
        "a/../lines",
        "./lines",
        "a//b/deep",
        "/lines",
        "lines/",
        "lines/x",
        "a",
        "none",
        "a/none/deep",
        "link",
        "inner",
        "a/folder/secret",
        "second-name",
        "pipe",
        "li\0nes",
        "x" * 300,
    ],
)
def test_no_other_key_opens_anything(place: Path, key: str) -> None:
    with pytest.raises(InputUnavailable) as caught:
        read(place, key)
    assert str(place) not in str(caught.value), "where it is, is the operator's"


def test_an_absolute_key_is_refused(place: Path) -> None:
    with pytest.raises(InputUnavailable):
        read(place, str(place.parent / "secret"))


def test_what_is_appended_later_is_not_read_and_what_is_cut_off_is_told(place: Path) -> None:
    found = open_below(str(place), "lines")
    with (place / "lines").open("a") as more:
        more.write("three\n")
    assert b"one\ntwo\n" == found.read(999)
    assert b"" == found.read(999)
    found.close()
    found = open_below(str(place), "lines")
    os.truncate(place / "lines", 4)
    assert b"one\n" == found.read(999)
    with pytest.raises(InputUnavailable):
        found.read(999)
    found.close()


# --- whose


def test_a_bucket_is_read_by_those_that_it_names(place: Path) -> None:
    of = {
        "first": DirectoryBucket(directory=str(place)),
        "other": DirectoryBucket(directory=str(place), accounts=(OTHER,)),
        "every": DirectoryBucket(directory=str(place), accounts=("*",)),
    }
    inputs = ConfiguredInputs(of, FIRST)
    told = set()
    for bucket, account, allowed in (
        ("first", FIRST, True),
        ("first", OTHER, False),
        ("other", FIRST, False),
        ("other", OTHER, True),
        ("every", OTHER, True),
        ("none", FIRST, False),
    ):
        if allowed:
            inputs.check(account, bucket, "lines")
        else:
            with pytest.raises(InputUnavailable) as caught:
                inputs.check(account, bucket, "lines")
            told.add(str(caught.value))
    assert 1 == len(told), "another's bucket is as nobody's"


def test_going_on_needs_the_same_file(place: Path) -> None:
    inputs = ConfiguredInputs({"in": DirectoryBucket(directory=str(place))}, FIRST)
    found = inputs.open(FIRST, "in", "lines", offset=0, version=None)
    version = found.version
    found.close()
    found = inputs.open(FIRST, "in", "lines", offset=4, version=version)
    assert (8, b"two\n") == (found.size, found.read(99))
    found.close()
    (place / "lines").write_text("one\ntoo\n")
    os.utime(place / "lines", ns=(1, 1))
    with pytest.raises(InputUnavailable, match="changed"):
        inputs.open(FIRST, "in", "lines", offset=4, version=version)


def test_an_input_that_is_too_large_is_not_read(place: Path) -> None:
    os.truncate(place / "lines", MAX_INPUT_BYTES + 1)
    inputs = ConfiguredInputs({"in": DirectoryBucket(directory=str(place))}, FIRST)
    with pytest.raises(InputUnavailable, match="split it"):
        inputs.check(FIRST, "in", "lines")
