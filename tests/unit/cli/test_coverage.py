"""`handfast coverage`: the set difference between the models and the handlers."""

from __future__ import annotations

import json

import pytest

from handfast.cli.coverage import cover, print_coverage
from handfast.wire.spec import load_service

MODELS = [load_service("iot"), load_service("handfast")]


def test_what_exists_and_what_does_not_add_up_to_the_model() -> None:
    iot, handfast = cover(MODELS, {"iot": ["ListThings", "CreateThing"], "iot-jobs": ["X"]})
    assert ("CreateThing", "ListThings") == iot.implemented
    assert (272, 270) == (iot.total, len(iot.missing))
    assert "DescribeIndex" in iot.missing
    assert (0, len(MODELS[1].operations)) == (len(handfast.implemented), handfast.total)


def test_a_handler_that_no_model_has_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="MakeCoffee"):
        cover(MODELS, {"iot": ["MakeCoffee"]})


def test_it_is_printed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = cover(MODELS, {"iot": ["CreateThing"]})
    print_coverage(rows, as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["iot", "1", "272"] in lines
    assert ["CreateThing", "yes"] in lines
    assert ["DescribeIndex", "-"] in lines
    print_coverage(rows, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert ["CreateThing"] == told["iot"]["implemented"]
    assert 272 == told["iot"]["total"]
