"""Chains drawn as they stand, with one thing wrong; and the ways up through cross-certificates."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from tests.support.pki import START, certificate, key_of, name

from handfast.core.pki import chain as chains
from handfast.core.pki.describe import covers, describe_chain, pin, roots_needed


class Tree(NamedTuple):
    root: x509.Certificate
    intermediate: x509.Certificate
    leaf: x509.Certificate


def tree(
    root: dict[str, Any] | None = None, intermediate: dict[str, Any] | None = None, leaf: dict[str, Any] | None = None
) -> Tree:
    """root (P-384) ← intermediate (P-521), pathlen 0 ← leaf (P-256); each argument changes one of them."""
    top = certificate("root", **({"key": key_of("p384"), "ca": True} | (root or {})))
    middle_options = {
        "key": key_of("p521"),
        "ca": True,
        "path_length": 0,
        "issuer": top,
        "issuer_key": key_of("p384"),
        "aki": chains.subject_key_identifier(top),
    }
    middle = certificate("intermediate", **(middle_options | (intermediate or {})))
    leaf_options = {
        "issuer": middle,
        "issuer_key": key_of("p521"),
        "aki": chains.subject_key_identifier(middle),
    }
    return Tree(top, middle, certificate("leaf", **(leaf_options | (leaf or {}))))


def broken(made: Tree, at: dt.datetime = START) -> list[str]:
    return [rule.rule for rule in chains.verify([made.leaf, made.intermediate], [made.root], at=at)]


def test_a_good_chain_breaks_no_rule() -> None:
    assert [] == broken(tree())


LATER, EARLIER = START + dt.timedelta(days=1), START - dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        (["validity_expired"], {"leaf": {"not_after": EARLIER}}),
        (["validity_expired"], {"intermediate": {"not_after": EARLIER}}),
        (["validity_expired"], {"root": {"not_after": EARLIER}}),
        (["validity_not_yet"], {"intermediate": {"not_before": LATER}}),
        (["chain_key_identifier"], {"leaf": {"aki": b"\1" * 20}}),
        (["chain_not_ca"], {"intermediate": {"ca": False, "path_length": None}}),
        (["chain_not_ca"], {"root": {"ca": False}}),
        (["chain_path_length"], {"root": {"path_length": 0}}),
        (["chain_signature"], {"leaf": {"issuer_key": key_of("p256")}}),
        (["chain_signature"], {"intermediate": {"issuer_key": key_of("p521")}}),
        (["chain_name", "chain_signature"], {"leaf": {"issuer_name": name("other")}}),
        (["chain_no_anchor"], {"intermediate": {"issuer_name": name("other")}}),
        (
            ["chain_key_usage"],
            {
                "intermediate": {
                    "extensions": [x509.KeyUsage(True, False, False, False, False, False, False, False, False)]
                }
            },
        ),
    ],
)
def test_one_thing_wrong(expected: list[str], changes: dict[str, Any]) -> None:
    assert expected == broken(tree(**changes))


def test_all_that_is_wrong_comes_back() -> None:
    made = tree(leaf={"not_after": EARLIER}, intermediate={"issuer_key": key_of("p521"), "not_before": LATER})
    assert ["validity_expired", "validity_not_yet", "chain_signature"] == broken(made)


def test_an_empty_chain_is_none() -> None:
    assert ["chain_empty"] == [rule.rule for rule in chains.verify([], [tree().root], at=START)]


def test_one_good_anchor_of_several_with_the_name_is_enough() -> None:
    made = tree()
    impostor = certificate("root", key=key_of("rsa2048"), ca=True)
    assert () == chains.verify([made.leaf, made.intermediate], [impostor, made.root], at=START)


class TestPaths:
    """root, and the same root signed by legacy (RSA): the leaf leads to either."""

    made = tree()
    legacy = certificate("legacy", key=key_of("rsa2048"), ca=True)
    cross = certificate("root", key=key_of("p384"), ca=True, issuer=legacy, issuer_key=key_of("rsa2048"))

    def test_to_each_anchor(self) -> None:
        leaf, pool = self.made.leaf, [self.cross, self.made.intermediate]
        assert [(leaf, self.made.intermediate, self.made.root)] == chains.paths(leaf, pool, [self.made.root])
        by_legacy = (leaf, self.made.intermediate, self.cross, self.legacy)
        assert [by_legacy] == chains.paths(leaf, pool, [self.legacy])
        assert [3, 4] == [len(path) for path in chains.paths(leaf, pool, [self.made.root, self.legacy])]

    def test_without_the_cross_certificate_there_is_no_way(self) -> None:
        assert [] == chains.paths(self.made.leaf, [self.made.intermediate], [self.legacy])

    def test_roots_that_sign_each_other_do_not_lead_round_in_a_circle(self) -> None:
        back = certificate("legacy", key=key_of("rsa2048"), ca=True, issuer=self.made.root, issuer_key=key_of("p384"))
        pool = [self.made.intermediate, self.cross, back]
        assert [] == chains.paths(self.made.leaf, pool, [certificate("other", ca=True)])

    def test_a_labyrinth_ends(self) -> None:
        keys = [key_of(kind) for kind in ("rsa2048", "rsa3072", "p256", "p384", "p521", "rsa4096")]
        pool = [
            certificate("same", key=key, ca=True, issuer_name=name("same"), issuer_key=signer, ski=False)
            for key in keys
            for signer in keys
        ] * 3
        assert len(chains.paths(pool[0], pool, [certificate("same", key=keys[-1], ca=True)])) <= chains.MAX_PATHS

    def test_the_needed_roots_are_named_nearest_first(self) -> None:
        roots = {"legacy-root.pem": self.legacy, "root.pem": self.made.root, "other.pem": certificate("o", ca=True)}
        sent = [self.made.leaf, self.made.intermediate, self.cross]
        assert ["root.pem", "legacy-root.pem"] == [each.file for each in roots_needed(sent, roots, at=START)]
        assert ["root.pem"] == [each.file for each in roots_needed(sent[:2], roots, at=START)]
        assert [] == roots_needed(sent, roots, at=START + dt.timedelta(days=9999))

    def test_a_cross_certificate_has_its_twins_pin_and_another_fingerprint(self) -> None:
        described = describe_chain([self.cross, self.made.root], at=START)
        assert pin(self.cross) == pin(self.made.root)
        assert described[0].fingerprint != described[1].fingerprint


def test_a_root_that_was_sent_is_pointed_out() -> None:
    made = tree()
    described = describe_chain([made.leaf, made.intermediate, made.root], at=START)
    assert [0, 0, 1] == [len(each.problems) for each in described]
    assert "need not send" in described[2].problems[0]


@pytest.mark.parametrize(
    ("expected", "host"),
    [
        (True, "a.iot.test"),
        (True, "A.IOT.TEST."),
        (True, "exact.test"),
        (True, "192.0.2.1"),
        (True, "::0001"),
        (False, "a.b.iot.test"),
        (False, "iot.test"),
        (False, "test"),
        (False, "192.0.2.2"),
    ],
)
def test_whose_name_a_server_may_bear(expected: bool, host: str) -> None:
    assert expected == covers(["*.iot.test", "exact.test", "192.0.2.1", "::1"], host)
