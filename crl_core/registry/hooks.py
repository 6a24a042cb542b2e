"""Events that plugins may listen to (entry point group `crl.hooks`), through pluggy.

Hooks are loaded when a pipeline is built or run, each plugin by itself: one that fails to import,
or misspells a hook, is left out as a whole, and that is told once, in full.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pluggy

from ..errors import nearest
from .plugins import Known, PluginError, advertised_hooks, check, resolve

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
    owners: dict[str, str]
    """By the name of a plugin in `manager`: its distribution."""


def load_hooks() -> Listeners:
    """All hooks that can be loaded, and what became of the others. Says nothing, caches nothing."""
    manager = pluggy.PluginManager("crl")
    manager.add_hookspecs(Hooks)
    failed: dict[str, PluginError] = {}
    owners: dict[str, str] = {}
    for known in advertised_hooks():
        try:
            _register(manager, known)
            owners[known.address] = known.distribution
        except PluginError as error:
            failed[known.distribution] = error
    return Listeners(manager, failed, owners)


def _register(manager: pluggy.PluginManager, known: Known) -> None:
    who = f"the hooks of {known.distribution} {known.version} ({known.target})"
    advice = f"None of its hooks run; other plugins are unaffected. Run: crl doctor {known.distribution}"
    check(known)
    try:
        module = resolve(known.target)
    except (Exception, SystemExit) as error:
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
    except ValueError as error:  # it is registered already
        raise PluginError(f"{who} are advertised twice: {error}\n  {advice}") from error


@cache
def listeners() -> Listeners:
    """The hooks of this process, loaded once; failures are told once."""
    loaded = load_hooks()
    for error in loaded.failed.values():
        warnings.warn(str(error), stacklevel=2)
    return loaded


def find_in_families(kind: str, name: str) -> Any:
    """What a plugin that opens a family has under this name, or None."""
    return next((answer for answer in _answers("crl_find", kind=kind, name=name) if answer is not None), None)


def announce(event: str, **what: Any) -> None:
    """Tells every listener; one that raises is reported with its plugin, and heard no more."""
    for _ in _answers(event, **what):
        pass


def _answers(event: str, **what: Any) -> Iterator[Any]:
    manager = listeners().manager
    for hook in reversed(getattr(manager.hook, event).get_hookimpls()):
        try:
            answer = hook.function(**{name: what[name] for name in hook.argnames})
        except Exception as error:
            warnings.warn(
                f"the hook {event} of {hook.plugin_name} raised {type(error).__name__}: {error}; "
                f"this plugin's hooks are off from here on",
                stacklevel=3,
            )
            manager.unregister(name=hook.plugin_name)
        else:
            yield answer
