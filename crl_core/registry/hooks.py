"""Events that plugins may listen to (entry point group `crl.hooks`), through pluggy.

Hooks are loaded when a pipeline is built or run, each plugin by itself: one that fails to import,
or misspells a hook, is left out as a whole, and that is told once, in full.
"""

from __future__ import annotations

import inspect
import os
import warnings
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from ..errors import nearest
from .plugins import CORE, Known, PluginError, _identity, check, namespace_of

if TYPE_CHECKING:
    from ..engine.state import State
    from ..pipeline import Pipeline

specification = pluggy.HookspecMarker("crl")
hook = pluggy.HookimplMarker("crl")


class Hooks:
    """What can be listened to. Arguments come by keyword; take those that you need."""

    @specification(firstresult=True)
    def crl_find(self, kind: str, name: str) -> Any:
        """A class for a part of an open family (`timm/*`), or None."""
        return None

    @specification
    def crl_pipeline_built(self, pipeline: Pipeline) -> None:
        """The lazy parts of a pipeline have been made."""

    @specification
    def crl_step_end(self, state: State) -> None:
        """A step of training is over."""

    @specification
    def crl_epoch_end(self, state: State) -> None:
        """An epoch of training is over."""

    @specification
    def crl_doctor(self) -> list[str]:
        """What is wrong with this plugin's surroundings, a line each."""
        return []


class Listeners(NamedTuple):
    manager: pluggy.PluginManager
    failed: dict[str, PluginError]
    """By distribution: why its hooks are left out."""


def load_hooks() -> Listeners:
    """All hooks that can be loaded, and what became of the others. Says nothing, caches nothing."""
    manager = pluggy.PluginManager("crl")
    manager.add_hookspecs(Hooks)
    failed: dict[str, PluginError] = {}
    alone = os.environ.get("CRL_AUTOLOAD") == "0"
    disabled = os.environ.get("CRL_DISABLE", "").replace(" ", "").split(",")
    for point in sorted(entry_points(group="crl.hooks"), key=lambda point: (point.name, point.value)):
        if point.dist is None:
            continue
        name, release = _identity(point.dist)
        namespace = namespace_of(name)
        if namespace in disabled or (alone and namespace != CORE):
            continue
        try:
            _register(manager, point, Known("hooks", namespace, point.name, point.value, name, release))
        except PluginError as error:
            failed[name] = error
    return Listeners(manager, failed)


def _register(manager: pluggy.PluginManager, point: EntryPoint, known: Known) -> None:
    who = f"the hooks of {known.distribution} {known.version} ({known.target})"
    advice = f"None of its hooks run; other plugins are unaffected. Run: crl doctor {known.distribution}"
    check(known)
    try:
        module = point.load()
    except Exception as error:
        raise PluginError(f"{who} failed to load: {type(error).__name__}: {error}\n  {advice}") from error
    for name, function in vars(module).items():
        if not (name.startswith("crl_") and inspect.isfunction(function)):
            continue
        if not hasattr(Hooks, name):
            hint = nearest(name, [hook for hook in vars(Hooks) if hook.startswith("crl_")])
            raise PluginError(f"{who}: there is no hook {name!r}.{hint}\n  {advice}")
        if not hasattr(function, "crl_impl"):
            raise PluginError(f"{who}: {name} is not marked with @crl_core.hook\n  {advice}")
    try:
        manager.register(module, name=known.address)
    except pluggy.PluginValidationError as error:
        manager.unregister(name=known.address)
        raise PluginError(f"{who}: {error}\n  {advice}") from error


@cache
def listeners() -> Listeners:
    """The hooks of this process, loaded once; failures are told once."""
    loaded = load_hooks()
    for error in loaded.failed.values():
        warnings.warn(str(error), stacklevel=2)
    return loaded


def find_in_families(kind: str, name: str) -> Any:
    """What a plugin that opens a family has under this name, or None."""
    return listeners().manager.hook.crl_find(kind=kind, name=name)


def announce(event: str, **what: Any) -> None:
    """Tells every listener; one that raises is reported with its plugin, and heard no more."""
    manager = listeners().manager
    for hook in list(getattr(manager.hook, event).get_hookimpls()):
        try:
            hook.function(**{name: what[name] for name in hook.argnames})
        except Exception as error:
            warnings.warn(
                f"the hook {event} of {hook.plugin_name} raised {type(error).__name__}: {error}; "
                f"this plugin's hooks are off from here on",
                stacklevel=2,
            )
            manager.unregister(name=hook.plugin_name)
