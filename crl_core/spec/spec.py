"""The spec of a pipeline as data: attrs classes, TOML or JSON, with strict conversion.

A spec names parts by their registered addresses and has numbers, texts, lists and tables: no
import path, no callable, no code. Reading a spec loads no plugin; `assemble` does.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import tomli_w

from ..data.parsing import parse
from ..data.relation import Relation, RelationError
from ..errors import SpecError, did_you_mean

SCHEMA = 2


@attrs.frozen
class Part:
    """One part: its address, and all its options."""

    use: str
    options: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class SameAs:
    """The same part, with the same weights, as at another place of the pipeline."""

    same_as: str


@attrs.frozen(eq=False)
class PipelineSpec:
    """The spec of a pipeline: the options of `Pipeline`, `Branch`, `Contrast` and `Penalty`, with their parts."""

    options: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PipelineSpec) and digest(self) == digest(other)

    def __hash__(self) -> int:
        return hash(digest(self))


# -- data to spec ----------------------------------------------------------------------------------


def convert(value: Any, hint: Any, place: str) -> Any:
    """A value from JSON or TOML, converted to the type `hint`.

    The conversion is strict: `"no"` and 1 are not bools, and `True` is not a number. Only a whole number becomes a
    float, as in Python.

    Raises:
        SpecError: the value has another type; the message begins with `place`.
    """
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(hint), place)
    if origin is Literal:
        return _convert_literal(value, get_args(hint), place)
    if origin in (list, tuple, Sequence):
        return _convert_list(value, hint, place)
    if origin in (dict, Mapping):
        item = get_args(hint)[1]
        _expect(isinstance(value, Mapping), value, "a table", place)
        return {name: convert(inner, item, f"{place}.{name}") for name, inner in value.items()}
    if hint is Part:
        return _convert_part(value, place)
    if hint is Relation:
        return _convert_relation(value, place)
    if hint is SameAs:
        _expect(isinstance(value, Mapping) and set(value) == {"same_as"}, value, 'a place, { same_as = "…" }', place)
        return SameAs(convert(value["same_as"], str, f"{place}.same_as"))
    if hint is float:
        _expect(type(value) in (int, float), value, "a number", place)
        try:
            return float(value)
        except OverflowError:
            raise SpecError(f"{place}: {_shown(value)} is too large a number") from None
    if hint in (bool, int, str):
        _expect(type(value) is hint, value, _WORDS[hint], place)
        return value
    if hint is type(None):
        _expect(value is None, value, "nothing", place)
        return None
    if hint is Any:
        return value
    _expect(not attrs.has(hint), value, "a table", place)
    raise SpecError(f"{place}: values of type {hint} can't be in a spec")


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "nothing"}
_LONGEST = 200  # an error shows at most so many characters of a wrong value


def _expect(holds: bool, value: Any, wanted: str, place: str) -> None:
    if not holds:
        raise SpecError(f"{place}: expected {wanted}, not {_shown(value)}")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists in lists
        text = f"such a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _convert_union(value: Any, hints: tuple[Any, ...], place: str) -> Any:
    if value is None and type(None) in hints:
        return None
    hints = tuple(hint for hint in hints if hint is not type(None))
    if isinstance(value, str) and Relation in hints:
        return _convert_relation(value, place)
    if len(hints) == 1:
        return convert(value, hints[0], place)
    expected = []
    for hint in hints:
        try:
            return convert(value, hint, place)
        except SpecError as error:
            expected.append(
                str(error).removeprefix(f"{place}: ").removesuffix(f", not {_shown(value)}").removeprefix("expected ")
            )
    raise SpecError(f"{place}: expected {' or '.join(dict.fromkeys(expected))}, not {_shown(value)}")


def _convert_literal(value: Any, choices: tuple[Any, ...], place: str) -> Any:
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    close = did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
    raise SpecError(f"{place}: expected {' or '.join(map(repr, choices))}, not {_shown(value)}.{close}")


def _convert_list(value: Any, hint: Any, place: str) -> Any:
    kind, arguments = get_origin(hint), get_args(hint)
    _expect(isinstance(value, (list, tuple)), value, "a list", place)
    if kind is tuple and arguments[-1] is not Ellipsis:
        _expect(len(value) == len(arguments), value, f"a list of {len(arguments)}", place)
        items = arguments
    else:
        items = (arguments[0],) * len(value)
    found = [convert(inner, item, f"{place}.{i}") for i, (inner, item) in enumerate(zip(value, items, strict=True))]
    return tuple(found) if kind is tuple else found


def _convert_part(value: Any, place: str) -> Part:
    _expect(isinstance(value, Mapping) and "use" in value, value, 'a part, { use = "…" }', place)
    use = convert(value["use"], str, f"{place}.use")
    return Part(use, {name: option for name, option in value.items() if name != "use"})


def _convert_relation(value: Any, place: str) -> Relation:
    _expect(isinstance(value, str), value, "the text of a relation", place)
    try:
        return parse(value)
    except RelationError as error:
        raise SpecError(f"{place}: {error}") from None


# -- spec to data ----------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """A spec as plain data for JSON and TOML. Values of None are left out."""
    if isinstance(value, Part):
        return {
            "use": value.use,
            **{name: plain(option) for name, option in value.options.items() if option is not None},
        }
    if isinstance(value, Relation):
        return str(value)
    if isinstance(value, PipelineSpec):
        return plain(value.options)
    if attrs.has(type(value)):
        pairs = ((field.name, getattr(value, field.name)) for field in attrs.fields(type(value)))
        return {name: plain(inner) for name, inner in pairs if inner is not None}
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value


def digest(spec: Any) -> str:
    """A name for a spec, or for its data: 64 hexadecimal digits, which are the same for TOML and JSON.

    The order of keys makes no difference, nor does 1 instead of 1.0.
    """
    text = json.dumps(_canonical(plain(spec)), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _canonical(inner) for name, inner in data.items() if inner is not None}
    if isinstance(data, list):
        return [_canonical(inner) for inner in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data


# -- files -----------------------------------------------------------------------------------------


def read(path: Path | str) -> dict[str, Any]:
    """The data in a `.toml` or `.json` file.

    Raises:
        SpecError: there is no such file, or it can't be parsed; the message names the file.
    """
    path = Path(path)
    if path.suffix not in (".toml", ".json"):
        raise SpecError(f"{path}: a spec is a .toml or a .json file")
    try:
        text = path.read_text(encoding="utf-8")
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"can't read the spec {path}: {error}") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path}: a spec is a table, not {type(data).__name__}")
    return data


def write(data: Mapping[str, Any], path: Path | str) -> None:
    """Writes data as TOML or JSON, by the ending of the path."""
    path = Path(path)
    path.write_text(to_toml(data) if path.suffix == ".toml" else json.dumps(data, indent=2) + "\n", encoding="utf-8")


def to_toml(data: Mapping[str, Any]) -> str:
    # In TOML's literal strings, the quotes of relations need no backslashes.
    return re.sub(
        r'= "((?:[^"\\\n\']|\\")*)"$',
        lambda match: "= '" + match[1].replace('\\"', '"') + "'" if "\\" in match[1] else match[0],
        tomli_w.dumps(data),
        flags=re.MULTILINE,
    )
