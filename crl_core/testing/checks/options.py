"""Checks of options, of specs, and of sending a part to another process."""

from __future__ import annotations

import inspect
import tomllib
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from torch import nn

from ...data.relation import Relation
from ...parts.schedules.scheduled import Scheduled
from ...registry import make
from ...registry.options import KIND_OF, signature
from ...spec.assembly import part_from, part_of
from ...spec.spec import plain, to_toml
from ..outcome import Fails, Skips, expect
from ..plugin import Case

_MODULES = ("encoder", "head", "score", "loss", "keys")


def options_are_named_and_annotated(case: Case) -> None:
    """Every option has a name and a type; there are no *args and no **options."""
    signature(case.cls)
    only = [p.name for p in inspect.signature(case.cls).parameters.values() if p.kind is p.POSITIONAL_ONLY]
    expect(not only, f"{', '.join(only)} can't be given by name: take out the / in its signature")


def options_are_data(case: Case) -> None:
    """Options can be in a spec: numbers, words, lists, tables, relations, other parts; no code."""
    for name, hint in signature(case.cls).items():
        expect(
            _is_data(hint),
            f"the option {name!r} is of type {hint}, which can't be in a spec: use a name, a number or another part",
        )


def takes_no_source(case: Case) -> None:
    """Only a source or a recipe has a source as an option: other parts get it in `on_source`."""
    if case.part.kind in ("source", "recipe"):
        raise Skips("a source may be made of other sources, and a recipe has its own")
    taken = [name for name, hint in signature(case.cls).items() if _names_a_source(hint)]
    expect(not taken, f"its option {', '.join(taken)} is a source: the run's is handed over, on_source(items, source)")


def _names_a_source(hint: Any) -> bool:
    return KIND_OF.get(hint) == "source" if isinstance(hint, type) else any(map(_names_a_source, get_args(hint)))


def reads_old_specs(case: Case) -> None:
    """Specs with its earlier names (`renamed`, `upgrade`, `formerly`) are read, with a DeprecationWarning."""
    renamed: Mapping[str, str] = getattr(case.cls, "renamed", {})
    formerly: tuple[str, ...] = getattr(case.cls, "formerly", ())
    if not renamed and not formerly:
        raise Skips("it has no earlier names")
    today = signature(case.cls)
    for old, new in renamed.items():
        expect(old not in today, f"renamed says that {old!r} is called {new!r} now, and it still has {old!r}")
        expect(new in today, f"renamed says that {old!r} is called {new!r} now, and it has no option {new!r}")
    kind = case.part.kind
    wanted = plain(part_of(kind, case.make(), "part"))
    old_words = {new: old for old, new in renamed.items()}
    for address in (case.part.address, *formerly):
        data = {"use": address, **{old_words.get(name, name): x for name, x in wanted.items() if name != "use"}}
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = plain(part_of(kind, part_from(kind, data, "part"), "part"))
        expect(found == wanted, f"the spec {data} of an earlier version gives {found}, and not {wanted}")
        told = any(issubclass(each.category, DeprecationWarning) for each in said)
        expect(told or data == wanted, f"it reads the spec {data} of an earlier version without a DeprecationWarning")


def _is_data(hint: Any) -> bool:
    origin, inner = get_origin(hint), [argument for argument in get_args(hint) if argument is not Ellipsis]
    if origin is Literal or hint in (bool, int, float, str, type(None), Relation, Scheduled) or hint in KIND_OF:
        return True
    if origin in (Union, types.UnionType, list, tuple, Sequence, dict, Mapping):
        return bool(inner) and all(map(_is_data, inner))
    return isinstance(hint, type) and attrs.has(hint) and all(map(_is_data, get_type_hints(hint).values()))


def keeps_its_contract(case: Case) -> None:
    """It has the attributes of its kind, and is an `nn.Module` if its kind is one."""
    part = make(case.part.kind, case.make())
    expect(
        case.part.kind not in _MODULES or isinstance(part, nn.Module),
        f"a {case.part.kind} is an nn.Module, so that its weights and state are saved and moved",
    )


def keeps_its_options(case: Case) -> None:
    """Each option is in an attribute of the same name, unchanged."""
    part = case.make()
    parameters = inspect.signature(case.cls).parameters
    for name in signature(case.cls):
        value = case.given.get(name, parameters[name].default)
        expect(hasattr(part, name), f"it has no attribute {name!r} for its option of this name: self.{name} = {name}")
        found = getattr(part, name)
        if value is not attrs.NOTHING and not isinstance(value, nn.Module):  # a factory of attrs makes a new value
            expect(found == value, f"self.{name} is {found!r}, and was given as {value!r}")


def spec_round_trip(case: Case) -> None:
    """A spec of it, read again, gives the same part."""
    kind = case.part.kind
    data = plain(part_of(kind, case.make(), "part"))
    again = part_from(kind, tomllib.loads(to_toml({"part": data}))["part"], "part")
    found = plain(part_of(kind, again, "part"))
    expect(found == data, f"it was {data}, and came back as {found}")
    if case.part.address not in getattr(case.cls, "formerly", ()):
        expect(data["use"] == case.part.address, f"its spec names {data['use']}, not {case.part.address}")


def arrives_in_a_worker(case: Case) -> None:
    """It can be sent to another process, as to a loader's workers."""
    if (reason := case.plugin.worked[case.label].sent) is not None:
        raise Fails(f"{reason}. Lambdas, open files and classes inside functions can't be sent")
