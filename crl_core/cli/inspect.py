"""crl list, crl info, crl doctor."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CrlError, did_you_mean
from ..registry.plugins import KINDS, Loaded, advertised_hooks, known, load

if TYPE_CHECKING:
    from ..doctor.probe import Imported


def run_list(options: argparse.Namespace) -> None:
    parts = known(options.kind)
    if options.json:
        keys = ("kind", "address", "distribution", "version")
        print(json.dumps([{key: getattr(part, key) for key in keys} for part in parts], indent=1))
        return
    width = max((len(part.address) for part in parts), default=0)
    for part in parts:
        print(f"{part.kind:<10} {part.address:<{width}}  {part.distribution} {part.version}")


def run_info(options: argparse.Namespace) -> None:
    parts = [load(part) for part in known() if options.name in (part.address, part.name)]
    parts = parts or list(_of_families(options.name))
    if not parts:
        every = [text for part in known() for text in (part.name, part.address)]
        raise CrlError(f"no part named {options.name!r}.{did_you_mean(options.name, every)} Run: crl list")
    told = [_told(part) for part in parts]
    print(json.dumps(told, indent=1) if options.json else "\n\n".join(map(_text, told)))


def _of_families(address: str) -> Iterator[Loaded]:
    """The parts with this address in the family of a plugin."""
    namespace, _, name = address.partition("/")
    for owner in advertised_hooks():
        if owner.namespace == namespace:
            from ..registry.hooks import find_in_families

            opened = ((kind, find_in_families(kind, address)) for kind in KINDS)
            yield from (Loaded(owner._replace(kind=kind, name=name), part) for kind, part in opened if part is not None)


def _told(of: Loaded) -> dict[str, Any]:
    part, loaded = of
    return {
        "kind": part.kind,
        "address": part.address,
        "distribution": part.distribution,
        "version": part.version,
        "target": part.target,
        "file": _file(loaded) or part.target,
        "options": _options(loaded),
        **({"presets": presets} if (presets := _presets(loaded)) else {}),
        "text": inspect.getdoc(loaded) or "",
    }


def _file(loaded: Any) -> str | None:
    try:
        return f"{inspect.getsourcefile(loaded)}:{inspect.getsourcelines(loaded)[1]}"
    except (TypeError, OSError):  # it has no source file
        return None


def _options(loaded: Any) -> list[str]:
    """The options with their types and defaults; the fields of a data class (`images: Images`) instead of itself."""
    try:
        parameters = [
            each
            for parameter in inspect.signature(loaded).parameters.values()
            for each in _fields(parameter.default) or [parameter]
        ]
    except (TypeError, ValueError):
        return []
    return [_option(parameter) for parameter in parameters]


def _presets(loaded: Any) -> dict[str, dict[str, str]]:
    """The settings of each preset of a recipe."""
    if not hasattr(loaded, "presets"):
        return {}
    from ..recipes.presets import shown

    return {name: {key: str(value) for key, value in shown(loaded, name).items()} for name in loaded.presets}


def _fields(group: Any) -> list[inspect.Parameter]:
    """The fields of a data class; none for other values."""
    if not callable(getattr(group, "recipe", None)):
        return []
    parameters = inspect.signature(type(group)).parameters.values()
    return [each.replace(default=_short(getattr(group, each.name))) for each in parameters]


def _short(value: Any) -> Any:
    """The address of a part, which prints shorter than the part; any other value as it is."""
    target = f"{type(value).__module__}:{type(value).__qualname__}"
    return next((part.address for part in known() if part.target == target), value)


def _option(parameter: inspect.Parameter) -> str:
    hint = parameter.annotation
    if not isinstance(hint, str):
        return str(parameter)
    # Python would print an annotation that is text in quotes.
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {hint}{default}"


def _text(told: dict[str, Any]) -> str:
    lines = [f"{told['kind']} {told['address']}  ({told['distribution']} {told['version']})", told["file"], ""]
    lines += [f"  {option}" for option in told["options"]] or ["  no options"]
    for name, values in told.get("presets", {}).items():
        sets = ", ".join(f"{key} = {value}" for key, value in values.items())
        lines.append(f"  preset {name}: {sets}")
    return "\n".join([*lines, "", told["text"]])


def run_doctor(options: argparse.Namespace) -> int:
    from ..doctor.examination import examination

    found = examination(options.distribution, imports=options.imports)
    if options.json:
        told = {
            "parts": found.parts,
            "distributions": found.distributions,
            "problems": [finding._asdict() for finding in found.findings],
            "imports": [imported._asdict() for imported in found.imports],
        }
        print(json.dumps(told, indent=1))
        return 1 if found.findings else 0
    for finding in found.findings:
        print(f"{finding.distribution}: {finding.problem}")
    for line in _imports(found.imports):
        print(line)
    for device in sorted({device for imported in found.imports for device in imported.kernels}):
        print(f"kernels on {device}:")
        for imported in found.imports:
            if device in imported.kernels:
                print(f"  {imported.address}: {'; '.join(imported.kernels[device]) or 'can run'}")
    print(f"{found.parts} parts of {len(found.distributions)} distributions, {len(found.findings)} problems")
    return 1 if found.findings else 0


def _imports(imports: Sequence[Imported]) -> Iterator[str]:
    """How long each import took, and which heavy packages it imported."""
    width = max((len(imported.address) for imported in imports), default=0)
    for imported in imports:
        spent = "      -" if imported.seconds is None else f"{imported.seconds:5.1f} s"
        alone = f" (its package alone: {', '.join(imported.package)})" if imported.package else ""
        yield f"{imported.kind:<10} {imported.address:<{width}}  {spent}  {', '.join(imported.heavy)}{alone}".rstrip()
