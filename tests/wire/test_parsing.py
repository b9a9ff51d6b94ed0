"""Values that a model does not allow: every violation named as AWS names it; bodies bounded in kind and depth."""

from __future__ import annotations

import datetime as dt
import json
import time
import unicodedata
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handfast.errors import InvalidRequestError
from handfast.wire.errors import SerializationError
from handfast.wire.parser import MAX_DEPTH, HttpRequest, load_object, parse
from handfast.wire.patterns import MAX_UNBOUNDED_CHARS, compile_pattern, matches
from handfast.wire.router import Match
from handfast.wire.spec import load_service, raw_model

IOT = load_service("iot")


def ask(
    name: str,
    body: Any = None,
    query: str = "",
    headers: dict[str, str] | None = None,
    service: str = "iot",
    **labels: str,
) -> dict[str, Any]:
    operation = load_service(service).operations[name]  # type: ignore[arg-type]
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = HttpRequest(operation.method, "/", query, list((headers or {}).items()), raw)
    return parse(Match(operation, labels), request)


def message(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        ask(*args, **kwargs)
    return caught.value.message


FAILED = "failed to satisfy constraint: Member must"


def test_our_own_operations_say_in_words_what_is_expected() -> None:
    said = message("RetryProvisioningRun", service="handfast", target="lamp-7")
    assert f"Value 'lamp-7' at 'target' {FAILED} be the runId of a run" in said
    assert "[" not in said
    with_pattern = [shape for shape in raw_model("handfast")["shapes"].values() if "pattern" in shape]
    assert with_pattern
    assert all(shape.get("patternWords") for shape in with_pattern)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda: message("CreateThing", thingName="a b"),
            f"1 validation error detected: Value 'a b' at 'thingName' {FAILED} "
            "satisfy regular expression pattern: [a-zA-Z0-9:_-]+",
        ),
        (
            lambda: message("CreateThing", thingName="a" * 129),
            f"1 validation error detected: Value '{'a' * 128}… (1 more characters)' at 'thingName' {FAILED} "
            "have length less than or equal to 128",
        ),
        (
            lambda: message("CreatePolicy", policyName="p"),
            f"1 validation error detected: Value null at 'policyDocument' {FAILED} not be null",
        ),
        (
            lambda: message("CreatePolicy", {"policyDocument": None}, policyName="p"),
            f"1 validation error detected: Value null at 'policyDocument' {FAILED} not be null",
        ),
        (
            lambda: message("ListThings", query="maxResults=251"),
            f"1 validation error detected: Value '251' at 'maxResults' {FAILED} have value less than or equal to 250",
        ),
        (
            lambda: message("ListThings", query="maxResults=0"),
            f"1 validation error detected: Value '0' at 'maxResults' {FAILED} have value greater than or equal to 1",
        ),
        (
            lambda: message("UpdateCertificate", query="newStatus=ON", certificateId="a" * 64),
            f"1 validation error detected: Value 'ON' at 'newStatus' {FAILED} satisfy enum value set: "
            "[ACTIVE, INACTIVE, REVOKED, PENDING_TRANSFER, REGISTER_INACTIVE, PENDING_ACTIVATION]",
        ),
        (
            lambda: message("CreateThing", {"attributePayload": {"attributes": {"a b": "c"}}}, thingName="n"),
            "1 validation error detected: Value 'a b' at 'attributePayload.attributes' failed to satisfy constraint: "
            "Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z0-9_.,@/:#-]+]",
        ),
        (
            lambda: message("CreateThing", {"attributePayload": {"attributes": {"a": "b c"}}}, thingName="n"),
            "1 validation error detected: Value 'b c' at 'attributePayload.attributes' failed to satisfy constraint: "
            "Map value must satisfy constraint: "
            "[Member must satisfy regular expression pattern: [a-zA-Z0-9_.,@/:#=\\[\\]-]*]",
        ),
        (
            lambda: message(
                "CreatePolicy", {"policyDocument": "{}", "tags": [{"Key": "", "Value": "v"}]}, policyName="p"
            ),
            f"1 validation error detected: Value '' at 'tags.1.member.Key' {FAILED} "
            "have length greater than or equal to 1",
        ),
        (
            lambda: message("CreatePolicy", {"policyDocument": "{}", "tags": [None]}, policyName="p"),
            f"1 validation error detected: Value null at 'tags.1.member' {FAILED} not be null",
        ),
        (
            lambda: message("CreatePolicy", {"policyDocument": 7}, policyName="p"),
            f"1 validation error detected: Value '7' at 'policyDocument' {FAILED} be a string",
        ),
        (
            lambda: message("CreatePolicy", {"policyDocument": {"Version": "x"}}, policyName="p"),
            f"1 validation error detected: Value '{{…}}' at 'policyDocument' {FAILED} be a string",
        ),
        (
            lambda: message("CreateThing", {"attributePayload": []}, thingName="n"),
            f"1 validation error detected: Value '[…]' at 'attributePayload' {FAILED} be a structure",
        ),
        (
            lambda: message("CreateThing", {"attributePayload": {"merge": "true"}}, thingName="n"),
            f"1 validation error detected: Value 'true' at 'attributePayload.merge' {FAILED} be a boolean",
        ),
        (
            lambda: message("ListThings", query="maxResults=ten"),
            f"1 validation error detected: Value 'ten' at 'maxResults' {FAILED} be an integer",
        ),
        (
            lambda: message("ListThings", query="usePrefixAttributeValue=True"),
            f"1 validation error detected: Value 'True' at 'usePrefixAttributeValue' {FAILED} be a boolean",
        ),
        (
            lambda: message("DeleteThing", query="expectedVersion=9223372036854775808", thingName="n"),
            f"1 validation error detected: Value '9223372036854775808' at 'expectedVersion' {FAILED} "
            "be a long between -9223372036854775808 and 9223372036854775807",
        ),
        (
            lambda: message("CreatePolicy", {"policyDocument": "\ud800"}, policyName="p"),
            f"1 validation error detected: Value '\\ud800' at 'policyDocument' {FAILED} be valid Unicode",
        ),
        (
            lambda: message("CreatePolicy", {"policyDocument": "a\0b"}, policyName="p"),
            f"1 validation error detected: Value 'a\\x00b' at 'policyDocument' {FAILED} not contain U+0000",
        ),
        (
            lambda: message("CreateThing", thingName="\x1b[31mred"),
            f"1 validation error detected: Value '\\x1b[31mred' at 'thingName' {FAILED} "
            "satisfy regular expression pattern: [a-zA-Z0-9:_-]+",
        ),
    ],
)
def test_a_violation_is_named_as_aws_names_it(call: Any, expected: str) -> None:
    assert expected == call()


def test_every_violation_is_listed() -> None:
    text = message("CreatePolicy", {"tags": [{"Value": "v"}, {"Key": 5}]}, policyName="no spaces")
    assert text.startswith("4 validation errors detected: ")
    for where in ("'policyName'", "'policyDocument'", "'tags.1.member.Key'", "'tags.2.member.Key'"):
        assert where in text


def test_the_list_of_violations_is_bounded() -> None:
    tags = [{"Key": ""}] * 1000
    text = message("CreatePolicy", {"policyDocument": "{}", "tags": tags}, policyName="p")
    assert text.startswith("1000 validation errors detected: ")
    assert text.endswith("; and 950 more")
    assert len(text) < 16_000


def test_a_sensitive_value_is_not_repeated() -> None:
    secret = "hunter2" * 40
    operation = next(
        (op, m)
        for op in IOT.operations.values()
        for m in op.input.members.values()
        if m.shape.sensitive and m.shape.type == "string" and m.location == "body"
    )
    text = message(operation[0].name, {operation[1].wire_name: {"secret": secret}})
    assert secret not in text


def test_null_is_absent_and_unknown_members_are_ignored() -> None:
    body = {"policyDocument": "{}", "tags": None, "future": {"x": [1]}}
    assert {"policy_name": "p", "policy_document": "{}"} == ask("CreatePolicy", body, policyName="p")
    body = {"attributePayload": {"attributes": {"a": "b", "gone": None}, "merge": None}, "thingTypeName": None}
    assert {"thing_name": "n", "attribute_payload": {"attributes": {"a": "b"}}} == ask(
        "CreateThing", body, thingName="n"
    )


def test_an_empty_body_is_an_empty_object() -> None:
    assert {"thing_name": "n"} == ask("CreateThing", b"", thingName="n")
    assert {"thing_name": "n"} == ask("CreateThing", b"{}", thingName="n")


def test_a_body_is_not_looked_at_where_no_member_stands_in_it() -> None:
    assert {"max_results": 5} == ask("ListThings", b"not json", query="maxResults=5")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"x"',
        b"null",
        b"7",
        b"{",
        b'{"a":}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"\xff\xfe{}",
        b'{"a": "\xff"}',
        b"{} {}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * (MAX_DEPTH) + b"]" * (MAX_DEPTH) + b"}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"x": "' + b'\\"' * 50_000 + b"[" * 100,
    ],
)
def test_a_body_that_is_no_bounded_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(SerializationError):
        load_object(body)


def test_brackets_inside_strings_are_not_depth() -> None:
    document = json.dumps({"a": '[{"\\' * 5000, "b": [1] * 100})
    assert 100 == len(load_object(document.encode())["b"])
    deepest = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert load_object(deepest)


def test_hostile_megabytes_are_refused_quickly() -> None:
    started = time.process_time()
    for body in (b'{"a": "' + b'\\"' * 500_000, b"[" * 1_000_000, b'{"' * 500_000, b'"' * 1_000_001):
        with pytest.raises(SerializationError):
            load_object(body)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "query", ["maxResults=1&maxResults=2", "maxResults=%", "maxResults=%zz", "nextToken=%ff", "&".join(["a=b"] * 257)]
)
def test_a_query_that_is_ambiguous_or_broken_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequestError):
        ask("ListThings", query=query)


def test_query_names_are_the_wires_and_plus_is_a_space() -> None:
    got = ask("ListPolicies", query="isAscendingOrder=true&pageSize=7&marker=YQ%3D%3D&unknown=1&ascendingOrder=false")
    assert {"ascending_order": True, "page_size": 7, "marker": "YQ=="} == got
    assert {"query": "a b+c"} == ask("Explain", query="query=a+b%2Bc", service="handfast")


def test_header_members_are_read_raw() -> None:
    arn = "arn:aws:iot:us-east-1:123456789012:cert/" + "a" * 64
    got = ask("AttachThingPrincipal", headers={"x-amzn-principal": arn}, thingName="n")
    assert {"thing_name": "n", "principal": arn} == got


@pytest.mark.parametrize(
    "text",
    ["2026-01-02T03:04:05Z", "1767323045", "1767323045.0", "1.767323045E9", "2026-01-02T04:04:05+01:00",
     "Fri, 02 Jan 2026 03:04:05 GMT"],
)  # fmt: skip
def test_every_form_of_a_timestamp_is_read(text: str) -> None:
    got = ask("ListAuditTasks", query=f"startTime={quote(text)}&endTime=0")
    assert dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC) == got["start_time"]
    assert dt.datetime(1970, 1, 1, tzinfo=dt.UTC) == got["end_time"]


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1e99", "9" * 20, "2026-13-01", "-99999999999999", "NaN", "0" * 5000]
)
def test_what_is_no_timestamp_is_a_violation(text: str) -> None:
    assert "be a timestamp" in message("ListAuditTasks", query=f"startTime={text}&endTime=0")


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"[\p{Graph}\x20]*", ["", "a b~!"], ["\t", "é", "\x7f"]),
        (r"[^\p{C}]+", ["é 中", " "], ["", "a\n", "\u200b", "\ue000", "\U0010ffff"]),
        (r"[^\p{Cntrl}]*", ["é\u200b"], ["\x1b", "\x7f"]),
        (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", ["Zürich 中٣", "a-b@c"], ["a!", "\t", "a\n"]),
        (r"[\p{Upper}\p{Digit}_]+", ["AZ_09"], ["a", "É", "٣"]),
        (r"[\w+=,.@-]+", ["a+b=c,d.e@f-_"], ["é", "٣", "a b", ""]),
        (r"^[a-zA-Z0-9_]+$", ["a"], ["a\n", "a b"]),
        (r"[\s\S]*", ["", "any\nthing"], []),
    ],
)
def test_javas_classes_mean_what_they_mean_in_java(pattern: str, yes: list[str], no: list[str]) -> None:
    assert yes == [text for text in yes + no if matches(pattern, text, None)]


def test_every_pattern_of_the_models_compiles() -> None:
    for service in ("iot", "iot-data", "handfast"):
        for shape in load_service(service).shapes.values():  # type: ignore[arg-type]
            if shape.pattern:
                compile_pattern(shape.pattern)


@pytest.mark.parametrize(
    "pattern", [r"\p{Nonsense}", r"[\P{L}]", r"[\p{L}é]", r"[\p{L}\u00b7]", r"[\p{N}\xa0]", r"[\p{Z}\x{10ffff}]"]
)
def test_a_class_that_is_not_known_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\\P|Nonsense|beyond ASCII"):
        compile_pattern(pattern)


@given(text=st.text(st.characters(), min_size=1, max_size=3), category=st.sampled_from("CLMNPSZ"))
def test_a_category_holds_what_unicode_says(text: str, category: str) -> None:
    within = {unicodedata.category(each)[0] == category for each in text}
    assert ({True} == within) is matches(rf"[\p{{{category}}}]+", text, None)
    assert ({False} == within) is matches(rf"[^\p{{{category}}}]+", text, None)


def test_every_character_of_two_bytes_is_of_its_category() -> None:
    for category in "CLMNPSZ":
        wanted = [c for c in map(chr, range(0x800)) if unicodedata.category(c)[0] == category]
        assert wanted == [c for c in map(chr, range(0x800)) if matches(rf"\p{{{category}}}", c, None)]


def test_matching_is_bounded_where_the_model_gives_no_length() -> None:
    quadratic = "^[1-9]+.[0-9]+"
    assert not matches(quadratic, "1" * (MAX_UNBOUNDED_CHARS + 1), None)
    started = time.process_time()
    assert not matches(quadratic, "1" * (MAX_UNBOUNDED_CHARS - 1) + "x", None)
    assert time.process_time() - started < 2
