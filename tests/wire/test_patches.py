"""Corrections to the models: each still fits the locked botocore, and carries its evidence."""

from __future__ import annotations

import copy
import json
from importlib import resources
from typing import Any

from handfast.wire.spec import apply_patches, load_service, raw_model

PATCHES: list[dict[str, Any]] = json.loads(resources.files("handfast.wire").joinpath("patches.json").read_text())[
    "patches"
]


def test_every_correction_has_its_evidence_and_still_fits() -> None:
    for patch in PATCHES:
        assert {"service", "path", "new", "evidence"} <= patch.keys()
        assert len(patch["evidence"]) > 40
        assert [] == apply_patches(patch["service"], copy.deepcopy(raw_model(patch["service"])), [patch])


def test_publish_takes_topics_with_raw_slashes() -> None:
    assert "/topics/{topic+}" == load_service("iot-data").operations["Publish"].uri


def test_a_correction_is_applied_once_and_left_out_where_it_no_longer_fits() -> None:
    patch = {"service": "iot", "path": "a/b", "old": 1, "new": 2}
    model: dict[str, Any] = {"a": {"b": 1}}
    assert [] == apply_patches("iot", model, [patch])
    assert {"a": {"b": 2}} == model
    assert [] == apply_patches("iot", model, [patch])
    changed: dict[str, Any] = {"a": {"b": 3}}
    assert ["a/b"] == apply_patches("iot", changed, [patch])
    assert {"a": {"b": 3}} == changed
    assert ["a/b"] == apply_patches("iot", {"a": 5}, [patch])
    assert [] == apply_patches("iot-data", {"a": {"b": 3}}, [patch])
