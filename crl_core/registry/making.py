"""Parts by name, and instances of them; and an instance's name."""

from __future__ import annotations

import warnings
from typing import Any

from .plugins import Known, PluginError, find, known, load, one

# What an instance of a kind can't do without; for a word in time where a wrong thing is handed over.
_NEEDS = {
    "sampler": ("views", "clean"),
    "loss": ("takes",),
    "update": ("gradient", "frozen", "follow", "advance"),
    "source": ("splits", "items"),
    "kernel": ("unsupported", "preference"),
    "optimiser": ("sparse", "__call__"),
}
_ONE_OF = {"keys": ("update", "choose", "per_query")}  # what an instance has one of


_opened: dict[tuple[str, type], set[str]] = {}  # classes of open families, with the names that gave them


def get(kind: str, name: str) -> Any:
    """The part itself: a class, a function, whatever its author made it.

    A name that no distribution advertises is offered to the plugin that owns its namespace, which may
    open a whole family (the hook `crl_find`).

    Raises:
        CrlError: there is none, or it can't be loaded.
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
        PluginError: it can't be found or loaded, or it is no part of this kind; or options come with an instance.
    """
    if config and not isinstance(what, (str, type)):
        raise PluginError(f"{what!r} is made already: its options can't be set to {config}")
    part = get(kind, what)(**config) if isinstance(what, str) else what(**config) if isinstance(what, type) else what
    lacking = [attribute for attribute in _NEEDS.get(kind, ()) if not hasattr(part, attribute)]
    choices = _ONE_OF.get(kind, ())
    if choices and not any(hasattr(part, attribute) for attribute in choices):
        lacking = [" or ".join(choices)]
    if lacking or not (callable(part) or kind in _NEEDS):
        shown = repr(part) if "\n" not in repr(part) else type(part).__name__  # a module shows all that is in it
        raise PluginError(f"{shown} is no {kind}: it has no {', '.join(lacking) or '__call__'}")
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
    for found in known(kind):
        if found.address not in getattr(cls, "formerly", ()) and (found.target == target or _gives(found, cls)):
            return found.address
    names = sorted(_opened.get((kind, cls), ()))
    if len(names) == 1:
        return names[0]
    if names:
        raise PluginError(f"{cls.__name__} was opened as {' and as '.join(names)}: each needs a class of its own")
    raise PluginError(
        f"{cls.__module__}.{cls.__qualname__} is not registered as {one(kind)}: advertise it in a distribution "
        f"(entry point group crl.{kind}), or for this process: crl.register({kind!r}, 'a-name', {cls.__name__})"
    )


def _gives(part: Known, cls: type) -> bool:
    """Whether `part` is `cls`, advertised where its package passes it on and not where it is written."""
    module, _, attribute = part.target.partition(":")
    if attribute != cls.__qualname__ or module.partition(".")[0] != cls.__module__.partition(".")[0]:
        return False
    try:
        return load(part).part is cls
    except PluginError:
        return False
