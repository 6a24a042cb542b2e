"""crl list, crl info, crl doctor."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator
from typing import Any

from ..errors import CrlError, nearest
from ..registry.plugins import KINDS, Loaded, advertised_hooks, known, load


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
        raise CrlError(f"no part named {options.name!r}.{nearest(options.name, every)} Run: crl list")
    told = [_told(part) for part in parts]
    print(json.dumps(told, indent=1) if options.json else "\n\n".join(map(_text, told)))


def _of_families(address: str) -> Iterator[Loaded]:
    """What the plugin that owns the address's namespace opens under it."""
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
        "text": inspect.getdoc(loaded) or "",
    }


def _file(loaded: Any) -> str | None:
    try:
        return f"{inspect.getsourcefile(loaded)}:{inspect.getsourcelines(loaded)[1]}"
    except (TypeError, OSError):  # compiled, or made by code
        return None


def _options(loaded: Any) -> list[str]:
    try:
        parameters = inspect.signature(loaded).parameters.values()
    except (TypeError, ValueError):
        return []
    return [_option(parameter) for parameter in parameters]


def _option(parameter: inspect.Parameter) -> str:
    hint = parameter.annotation
    if not isinstance(hint, str):
        return str(parameter)
    # Python would print an annotation that is kept as text in quotes.
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {hint}{default}"


def _text(told: dict[str, Any]) -> str:
    lines = [f"{told['kind']} {told['address']}  ({told['distribution']} {told['version']})", told["file"], ""]
    lines += [f"  {option}" for option in told["options"]] or ["  no options"]
    return "\n".join([*lines, "", told["text"]])


def run_doctor(options: argparse.Namespace) -> int:
    from ..registry.doctor import examine

    findings = examine(options.distribution, imports=options.imports)
    if options.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        for finding in findings:
            print(f"{finding.distribution}: {finding.problem}")
        owners = {part.distribution for part in known()}
        print(f"{len(known())} parts of {len(owners)} distributions, {len(findings)} problems")
    return 1 if findings else 0
