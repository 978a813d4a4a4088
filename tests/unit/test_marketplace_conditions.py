"""Conditions over a tool's arguments: what may be set, what they say, and that their time is bounded."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from servers.marketplace.rules.conditions import (
    MAX_BRACKETS,
    MAX_BYTES,
    MAX_CONDITION,
    MAX_VALUES,
    Compiled,
    Rule,
    check,
    check_names,
    checked,
    compiled,
    judged,
    reason,
)
from shared.errors import Forbidden, InvalidInput

SCHEMA = {"type": "object", "properties": {"model": {"type": "string"}, "texts": {"type": "array"}}}


def rule(condition: str) -> Rule:
    return Rule("rul_" + "a" * 26, None, "io.0711/cradle", "embed", condition)


def says(condition: str, **arguments: Any) -> str:
    return judged(compiled(rule(checked(condition))), arguments)


@pytest.mark.parametrize(
    ("condition", "arguments", "verdict"),
    [
        ('size(args.texts) <= 2 && args.model == "x"', {"texts": ["a", "b"], "model": "x"}, "holds"),
        ('size(args.texts) <= 2 && args.model == "x"', {"texts": ["a", "b", "c"], "model": "x"}, "fails"),
        ('args.model == "x"', {}, "cannot"),
        ('!has(args.model) || args.model == "x"', {}, "holds"),
        ("args.limit <= 10", {"limit": "10"}, "cannot"),
        ("args.limit <= 10", {"limit": 10.0}, "holds"),
        ("args.limit <= 10", {"limit": True}, "cannot"),
        ("args.limit <= 10", {"limit": None}, "cannot"),
        ("args.limit + 1 <= 10", {"limit": 2**63 - 1}, "cannot"),
        ("args.limit", {"limit": 1}, "cannot"),
        ('args.formats.all(f, f in ["pdf", "csv"])', {"formats": ["pdf", "exe"]}, "fails"),
        ('args.formats.all(f, f in ["pdf", "csv"])', {"formats": ["pdf"]}, "holds"),
        ("args.rows.exists(r, r.price > 100)", {"rows": [{"price": 200}]}, "holds"),
        ('args.text.matches("^[a-zü ]+$")', {"text": "für alle"}, "holds"),
        ('args.url.startsWith("https://")', {"url": "http://x"}, "fails"),
        ('args["a-b"] == 1', {"a-b": 1}, "holds"),
        ("args.deep.x.x == 1", {"deep": {"x": {"x": 1}}}, "holds"),
        ("args.limit <= 10", {"limit": 1, "LIMIT": 100}, "cannot"),
        ('!has(args.model) || args.model == "x"', {"Model": "y"}, "cannot"),
        ('!("path" in args)', {"Path": "/etc"}, "cannot"),
        ('args["a-b"] == 1', {"a-b": 1, "deep": [{"x": 1, "X": 2}]}, "cannot"),
        ('args.model == "Model"', {"model": "Model", "other": {"Kind": 1}}, "holds"),
    ],
)
def test_a_condition_is_judged_and_what_cannot_be_judged_does_not_pass(
    condition: str, arguments: dict[str, Any], verdict: str
) -> None:
    assert says(condition, **arguments) == verdict


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("", "not CEL"),
        ("1 +", "not CEL"),
        ("args.a == 1 " + "&& args.a == 1 " * 40, str(MAX_CONDITION)),
        ("(" * (MAX_BRACKETS + 1) + "true" + ")" * (MAX_BRACKETS + 1), "nested"),
        ("model == 1", "names the arguments"),
        ("now() > 1", "functions are"),
        ("args.a.map(x, x + 1) == [2]", "no map"),
        ("args.a.filter(x, x > 1).size() > 0", "no filter"),
        ("args.a.all(x, x in args.b)", "only the variable x"),
        ("args.a.all(x, x.all(y, y < 3))", "does not loop again"),
        ("args.a.all(args, args < 3)", "only the variable"),
        ("args.a.all(i, v, i > v)", "functions are"),
        ("cel.bind(x, 1, x == 1)", "functions are"),
        (" && ".join(["args.a.all(x, x > 1)"] * 4), "at most 3"),
        ('args.a == "\\u0041"', "backslashes"),
        ('args.a == """x"""', "simple quotes"),
        ("args.a == 1 // == 2", "no comments"),
        ("1 + 1", "neither true nor false"),
        ('"a" < 1', "neither true nor false"),
    ],
)
def test_a_condition_that_cannot_be_bounded_is_refused_with_what_to_write_instead(condition: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as refused:
        checked(condition)
    assert refused.value.field == "condition"


@pytest.mark.parametrize(
    "condition", ["!" * 495 + "true", "-" * 490 + "1 == 1", "true ? " * 30 + "true" + " : true" * 30]
)
def test_the_longest_chains_are_read_or_refused_and_crash_nothing(condition: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert says(condition) in {"holds", "fails"}


@pytest.mark.parametrize(
    "condition",
    [
        "args.modle == 'x'", "!has(args.modle) || args.model == 'x'", 'args["modle"] == 1', '!("modle" in args)',
        "size(args . modle) > 1", "args.model == 'args.texts' && args.modle", "args.Model == 'x'",
    ],
)  # fmt: skip
def test_a_condition_on_an_argument_that_the_tool_does_not_declare_is_refused_with_the_way_out(condition: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"not declare; declared are: model, texts\. .*`additionalProperties: true`\.$"
    ):
        check_names(condition, [SCHEMA])
    check_names(condition, [])  # nothing is known of the tool
    seen = {"properties": {"modle": {}, "Model": {}}}
    check_names(condition, [SCHEMA, seen])  # what waits for its approval has it
    for more in (
        {"additionalProperties": True},
        {"additionalProperties": {"type": "string"}},
        {"patternProperties": {"^m": {}}},
        {"anyOf": [{}]},
    ):
        check_names(condition, [SCHEMA | more])


@pytest.mark.parametrize(
    "condition",
    [
        "size(args.texts) <= 2 && args.model == 'args.modle'", '"x" in args.texts', 'args["model"] == "modle"', "true",
        "args.all(k, k in ['model', 'texts'])", "args.model.modle == 1", "has(args.model) && size(args) < 3", "false",
        "args.texts.all(t, t.modle == 1)",
    ],
)  # fmt: skip
def test_a_condition_on_arguments_that_the_tool_has_is_taken(condition: str) -> None:
    assert checked(condition)
    check_names(condition, [SCHEMA])


@pytest.mark.parametrize("name", ["int", "uint", "double", "string", "bool", "list", "map", "null_type"])
def test_an_argument_is_asked_for_its_type(name: str) -> None:
    assert checked(f"type(args.x) == {name}")


@pytest.mark.parametrize("word", ["patternProperties", "$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"])
def test_a_schema_that_may_name_more_arguments_elsewhere_passes_every_name(word: str) -> None:
    with pytest.raises(InvalidInput):
        check_names("args.elsewhere == 1", [SCHEMA])
    check_names("args.elsewhere == 1", [{**SCHEMA, word: {}}])


@pytest.mark.parametrize("quotes", ["'''", '"""'])
def test_texts_of_several_lines_are_no_way_around_the_reading_of_texts(quotes: str) -> None:
    with pytest.raises(InvalidInput, match="simple quotes"):
        checked(f"args.x == {quotes}a{quotes}")


@pytest.mark.parametrize(
    "condition",
    [
        "size(args.x) > 1", "args.x.startsWith('a')", "args.x.endsWith('a')", "args.x.contains('a')",
        "args.x.matches('^a+$')", "int(args.x) > 1", "uint(args.x) > 1u", "double(args.x) > 1.0",
        "string(args.x) == '1'", "bool(args.x)", "has(args.x)",
    ],
)  # fmt: skip
def test_every_function_that_the_refusal_names_is_taken(condition: str) -> None:
    assert checked(condition)


def test_the_bounds_of_a_condition_are_those_that_it_is_refused_with() -> None:
    longest = "args.x == '" + "a" * (500 - len("args.x == ''")) + "'"
    deepest = "(" * 20 + "args.x" + ")" * 20 + " == 1"
    most = " && ".join(["args.x.all(a, a > 1)"] * 3)
    for condition, more, told in (
        (longest, longest + " ", "at most 500 characters"),
        (deepest, f"({deepest})", "at most 20 deep"),
        (most, f"{most} && args.x.exists(a, a > 1)", "at most 3 of all"),
    ):
        assert checked(condition)
        with pytest.raises(InvalidInput, match=told):
            checked(more)
    assert says("true", values=[1] * 4_999) == "holds"
    assert says("true", values=[1] * 5_000) == "too large"
    assert says("true", text="x" * (8 * 2**20 - len('{"text":""}'))) == "holds"
    assert says("true", text="x" * (8 * 2**20 - len('{"text":""}') + 1)) == "too large"


def test_arguments_that_are_too_many_or_too_long_are_refused_before_they_are_judged() -> None:
    assert says("true", values=list(range(MAX_VALUES - 1))) == "holds"
    assert says("true", values=list(range(MAX_VALUES))) == "too large"
    assert says("true", values=[[1] * 100] * 100) == "too large"
    assert says("true", text="x" * MAX_BYTES) == "too large"


def test_a_refusal_names_rule_and_condition_and_nothing_of_the_arguments() -> None:
    limited = compiled(rule('args.text == "allowed"'))
    check([limited], {"text": "allowed"})
    check([], {"text": "anything"})
    for arguments in ({"text": "secret-canary"}, {"secret-canary": 1}, {"text": {"secret-canary": 1}}, None, ["x"]):
        with pytest.raises(Forbidden, match=r'rul_a+ refuses .*`args.text == "allowed"`') as refused:
            check([limited], arguments)
        assert "canary" not in refused.value.message
    with pytest.raises(Forbidden):
        check([Compiled(limited.rule, None)], {"text": "allowed"})
    assert "send less" in reason(limited.rule, "too large")


def test_arguments_that_are_no_object_are_not_judged_as_if_there_were_none() -> None:
    absent = [compiled(rule("!has(args.path)"))]
    check(absent, None)
    for wrong in ([["path", "/etc"]], [], "path", 1):
        with pytest.raises(Forbidden):
            check(absent, wrong)
