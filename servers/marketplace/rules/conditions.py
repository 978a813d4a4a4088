"""Conditions over a tool's arguments, in CEL (Common Expression Language). Pure: nothing here asks anything.

A condition is compiled once, when it is set and when a route is found, and then judged at each call. Its time is linear
in the arguments: inside `all`, `exists` and `exists_one` only the loop's own variable may be named, and `map` and
`filter`, which copy their list for each element, are refused. Whatever cannot be judged is refused: also a key that a
server which reads keys whatever their case (Go's encoding/json, .NET's web defaults) would take for another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from shared.errors import Forbidden, InvalidInput

MAX_CONDITION = 500
MAX_BRACKETS = 20
MAX_LOOPS = 3
MAX_LISTED = 30
MAX_VALUES = 5_000
MAX_BYTES = 8 * 2**20
"""Most values, and bytes as JSON, of arguments that a condition is judged on."""

Verdict = Literal["holds", "fails", "cannot", "too large"]

FUNCTIONS = frozenset({
    "size", "startsWith", "endsWith", "contains", "matches", "type", "int", "uint", "double", "string", "bool",
})  # fmt: skip
TYPES = frozenset({"int", "uint", "double", "string", "bool", "list", "map", "null_type"})
LOOP = re.compile(r"\.\s*(all|exists_one|exists)\s*\(\s*([A-Za-z_]\w*)\s*,")
TEXT = re.compile(r"\"[^\"]*\"|'[^']*'")
NAMED = re.compile(r"\.\s*([A-Za-z_]\w*)|\[\s*[\"']([^\"']*)[\"']\s*\]|[\"']([^\"']*)[\"']\s+in\b")
"""Names of arguments in a condition: args.x, args["x"], "x" in args."""
ARGUMENT = re.compile(
    r"""(?<![\w.])args\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\()|(?<![\w.])args\s*\[\s*["']([^"']*)["']\s*\]"""
    r"""|["']([^"']*)["']\s+in\s+args\b(?!\s*[.\[])|"[^"]*"|'[^']*'"""
)
"""The same of the arguments themselves, and texts, in which a name is none."""
OPENS = frozenset({"patternProperties", "$ref", "allOf", "anyOf", "oneOf", "if", "dependentSchemas"})
"""What may name arguments of a tool beside `properties` (JSON Schema 2020-12)."""
OPENING, CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Rule:
    """The operator's rule: calls of a tool pass only where the condition is true of their arguments.

    Args:
        customer: whose calls; None: everyone's.
    """

    rule_id: str
    customer: str | None
    server_name: str
    tool: str
    condition: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule that is ready to be judged; without a program every call is refused.

    Args:
        names: the names that its condition holds, by their folded case.
    """

    rule: Rule
    program: Any
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)


def checked(condition: str) -> str:
    """A condition that can be judged in bounded time.

    Raises:
        InvalidInput: says what is wrong with it, and what to write instead.
    """
    if len(condition) > MAX_CONDITION:
        raise _wrong(f"It has at most {MAX_CONDITION} characters.")
    if "\\" in condition or '"""' in condition or "'''" in condition:
        raise _wrong("Write texts in simple quotes, without backslashes.")
    bare = TEXT.sub('""', condition)
    if "//" in bare:
        raise _wrong("It has no comments.")
    _check_brackets(bare)
    loops = _check_loops(bare)
    program = _program(condition)
    if program is None:
        raise _wrong("It is not CEL, such as: size(args.texts) <= 100.")
    strange = [each for each in program.functions() if each.isidentifier() and each not in FUNCTIONS]
    if strange:
        raise _wrong(f"Its functions are: {', '.join(sorted(FUNCTIONS))}, all, exists, exists_one, has.")
    if not set(program.variables()) <= {"args"} | loops | TYPES:
        raise _wrong("It names the arguments as args, such as args.model, and nothing else.")
    if "args" not in program.variables() and not isinstance(_constant(program), bool):
        raise _wrong("It names no argument, and is neither true nor false.")
    return condition


def check_names(condition: str, schemas: Sequence[Mapping[str, Any]]) -> None:
    """Pass a condition that names only arguments that the tool declares, so that a typing error is seen: of a name
    that no call has, none would pass, or where it is asked for with `has`, every one.

    Args:
        schemas: of the tool's arguments, as approved and as seen last. One without `properties` passes every name, and
            so does one that says that there are others: `additionalProperties` other than false, or one of `OPENS`.
            Where it is left out JSON Schema allows others too (2020-12, 10.3.2.3); here they have to be declared.

    Raises:
        InvalidInput: it names another; says which the tool declares.
    """
    listed = [_listed(each) for each in schemas]
    known = {name: None for names in listed for name in names or ()}
    named = {name for found in ARGUMENT.findall(condition) for name in found if name}
    if listed and None not in listed and not named <= known.keys():
        plain = [each for each in known if re.fullmatch(r"[\w-]{1,64}", each)][:MAX_LISTED]
        raise _wrong(
            f"It names an argument that the tool does not declare; declared are: {', '.join(plain) or 'none'}. If the "
            "tool takes others, have its server say so: by that argument's own entry in `properties`, or by "
            "`additionalProperties: true`."
        )


def compiled(rule: Rule) -> Compiled:
    """A stored rule, ready to be judged."""
    named = [name for found in NAMED.findall(rule.condition) for name in found if name]
    folded = {name.casefold() for name in named}
    names = {each: frozenset(name for name in named if name.casefold() == each) for each in folded}
    return Compiled(rule, _program(rule.condition), names)


def judged(condition: Compiled, arguments: Mapping[str, Any]) -> Verdict:
    """What a condition says of arguments."""
    if condition.program is None:
        return "cannot"
    if not _small(arguments):
        return "too large"
    if not _plainly_named(arguments, condition.names):
        return "cannot"
    try:
        answer = condition.program.execute({"args": dict(arguments)})
    except Exception:  # noqa: BLE001  # its text may repeat a value, and whatever it is, the condition is not met
        return "cannot"
    if answer is True:
        return "holds"
    return "fails" if answer is False else "cannot"


def check(conditions: Sequence[Compiled], arguments: object) -> None:
    """Pass arguments that every condition holds for.

    Raises:
        Forbidden: says which rule refuses them, and its condition; nothing of the arguments.
    """
    for each in conditions:
        verdict = judged(each, arguments or {}) if isinstance(arguments, dict | None) else "cannot"
        if verdict != "holds":
            raise Forbidden(reason(each.rule, verdict), field="arguments")


def reason(rule: Rule, verdict: Verdict) -> str:
    """A verdict in words."""
    wanted = f"`{rule.condition}`"
    return {
        "holds": f"The rule {rule.rule_id} holds for these arguments: {wanted}.",
        "fails": f"The rule {rule.rule_id} refuses these arguments: {wanted} has to be true.",
        "cannot": f"The rule {rule.rule_id} refuses these arguments, for its condition cannot be judged on them, such "
        f"as where one is missing, of another type or in another case: {wanted} has to be true.",
        "too large": f"The rule {rule.rule_id} refuses these arguments, for it judges at most {MAX_VALUES} values and "
        f"{MAX_BYTES // 2**20} MiB: send less at once. {wanted} has to be true.",
    }[verdict]


def _program(condition: str) -> Any:
    import cel

    try:
        return cel.compile(condition)
    except Exception:  # noqa: BLE001  # the parser's own words are about its grammar
        return None


def _listed(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    known = schema.get("properties")
    closed = schema.get("additionalProperties", False) is False and not schema.keys() & OPENS
    return known if isinstance(known, dict) and closed else None


def _constant(program: Any) -> Any:
    try:
        return program.execute({})
    except Exception:  # noqa: BLE001  # whatever it is, it is no constant
        return None


def _check_brackets(bare: str) -> None:
    depth = 0
    for each in bare:
        depth += (each in OPENING) - (each in CLOSING)
        if depth > MAX_BRACKETS:
            raise _wrong(f"Its brackets are nested at most {MAX_BRACKETS} deep.")


def _check_loops(bare: str) -> set[str]:
    """The loops' variables. The time of a loop whose body names the arguments, or loops again, is not linear."""
    if re.search(r"\.\s*(map|filter)\s*\(", bare):
        raise _wrong("It has no map and no filter: write all, exists or exists_one.")
    loops = list(LOOP.finditer(bare))
    if len(loops) > MAX_LOOPS:
        raise _wrong(f"It has at most {MAX_LOOPS} of all, exists and exists_one.")
    for loop in loops:
        body = _until_closed(bare[loop.end() :])
        if LOOP.search(body) or re.search(r"\bargs\b", body):
            raise _wrong(f"Inside {loop[1]} it names only the variable {loop[2]}, and does not loop again.")
    return {loop[2] for loop in loops}


def _until_closed(text: str) -> str:
    depth = 1
    for place, each in enumerate(text):
        depth += (each in OPENING) - (each in CLOSING)
        if depth == 0:
            return text[:place]
    return text


def _small(arguments: Mapping[str, Any]) -> bool:
    left = MAX_VALUES
    waiting: list[Any] = [arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list):
            left -= len(value)
            if left < 0:
                return False
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return len(orjson.dumps(arguments)) <= MAX_BYTES


def _plainly_named(arguments: Mapping[str, Any], names: Mapping[str, frozenset[str]]) -> bool:
    """Whether a server that reads keys whatever their case finds the values that the condition is judged on."""
    waiting: list[Any] = [arguments]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            folded = {key.casefold() for key in value}
            if len(folded) < len(value) or any(key not in names.get(key.casefold(), (key,)) for key in value):
                return False
        if isinstance(value, dict | list):
            waiting.extend(value.values() if isinstance(value, dict) else value)
    return True


def _wrong(text: str) -> InvalidInput:
    return InvalidInput(f"This condition cannot be used. {text}", field="condition")
