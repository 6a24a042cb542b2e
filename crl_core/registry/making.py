"""The class of a part by its name, an instance of it, and the address of an instance."""

from __future__ import annotations

import warnings
from typing import Any

from .plugins import Known, PluginError, find, known, load, one

# Attributes that an instance of a kind must have, so that a wrong object is an error at once.
_NEEDS = {
    "sampler": ("views", "clean"),
    "loss": ("takes",),
    "update": ("gradient", "frozen", "follow", "advance"),
    "source": ("splits", "items"),
    "kernel": ("unsupported", "preference"),
    "optimiser": ("sparse", "__call__"),
}
_ONE_OF = {"keys": ("update", "choose", "per_query")}  # an instance must have one of these


_opened: dict[tuple[str, type], set[str]] = {}  # classes from the hook `crl_find`, with their names


def get(kind: str, name: str) -> Any:
    """The part with this name: a class or a function.

    If no entry point has the name, the plugin that owns the namespace may have it in a family (the hook
    `crl_find`).

    Raises:
        CrlError: there is no such part, or it can't be loaded.
    """
    try:
        part = find(kind, name)
    except PluginError:
        from .hooks import find_in_families

        family = find_in_families(kind, name)
        if family is None:
            raise
        if isinstance(family, type) and "/" in name:
            _opened.setdefault((kind, family), set()).add(name)
        return family
    found = load(part).part
    if part.address in getattr(found, "formerly", ()):
        warnings.warn(
            f"{kind} {part.address!r} is now {address_of_class(kind, found)!r}", DeprecationWarning, stacklevel=2
        )
    return found


def make(kind: str, what: Any, **config: Any) -> Any:
    """An instance, from a name, a class or an instance.

    Raises:
        PluginError: it can't be found or loaded, or is not of this kind; or options were given for an instance.
    """
    if config and not isinstance(what, (str, type)):
        raise PluginError(f"{what!r} is an instance: its options can't be set to {config}")
    part = get(kind, what)(**config) if isinstance(what, str) else what(**config) if isinstance(what, type) else what
    missing = [attribute for attribute in _NEEDS.get(kind, ()) if not hasattr(part, attribute)]
    choices = _ONE_OF.get(kind, ())
    if choices and not any(hasattr(part, attribute) for attribute in choices):
        missing = [" or ".join(choices)]
    if missing or not (callable(part) or kind in _NEEDS):
        shown = repr(part) if "\n" not in repr(part) else type(part).__name__  # the repr of a module may be long
        raise PluginError(f"{shown} is no {kind}: it has no {', '.join(missing) or '__call__'}")
    return part


def address_of(kind: str, part: Any) -> str:
    """The registered address of an instance's class.

    Raises:
        PluginError: it isn't registered.
    """
    return address_of_class(kind, type(part))


def address_of_class(kind: str, cls: type) -> str:
    """See `address_of`."""
    target = f"{cls.__module__}:{cls.__qualname__}"
    for part in known(kind):
        if part.address not in getattr(cls, "formerly", ()) and (part.target == target or _reexports(part, cls)):
            return part.address
    names = sorted(_opened.get((kind, cls), ()))
    if len(names) == 1:
        return names[0]
    if names:
        raise PluginError(f"{cls.__name__} is the class of {' and of '.join(names)}: each name needs its own class")
    raise PluginError(
        f"{cls.__module__}.{cls.__qualname__} is not registered as {one(kind)}: give it an entry point in a "
        f"distribution (group crl.{kind}), or for this process: crl.register({kind!r}, 'a-name', {cls.__name__})"
    )


def _reexports(part: Known, cls: type) -> bool:
    """Whether `part` is `cls`, if its entry point names a module that imports the class from another module."""
    module, _, attribute = part.target.partition(":")
    if attribute != cls.__qualname__ or module.partition(".")[0] != cls.__module__.partition(".")[0]:
        return False
    try:
        return load(part).part is cls
    except PluginError:
        return False
