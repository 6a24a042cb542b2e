"""Loads and calls the hooks of plugins (entry point group `crl.hooks`), with pluggy.

Hooks are loaded when a pipeline is built or trained, separately for each plugin. If a plugin's hooks
fail to import, or one is misspelt, all hooks of this plugin are left out, with one warning.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import pluggy

from ..errors import CrlError, did_you_mean
from .hookspecs import Hooks
from .plugins import Known, PluginError, advertised_hooks, check, resolve


class Listeners(NamedTuple):
    manager: pluggy.PluginManager
    failed: dict[str, PluginError]
    """Why hooks are left out, by distribution."""
    owners: dict[str, Known]
    """The entry point of each plugin, by its name in `manager`."""


def load_hooks(advertised: Iterable[Known]) -> Listeners:
    """The hooks that can be loaded, and the errors of the others. Gives no warning and caches nothing."""
    manager = pluggy.PluginManager("crl")
    manager.add_hookspecs(Hooks)
    failed: dict[str, PluginError] = {}
    owners: dict[str, Known] = {}
    for known in advertised:
        try:
            _register(manager, known)
            owners[known.address] = known
        except PluginError as error:
            failed[known.distribution] = error
    return Listeners(manager, failed, owners)


def _register(manager: pluggy.PluginManager, known: Known) -> None:
    who = f"the hooks of {known.distribution} {known.version} ({known.target})"
    advice = f"None of its hooks run; other plugins are unaffected. Run: crl doctor {known.distribution}"
    try:
        module = resolve(known.target)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{who} failed to load: {type(error).__name__}: {error}\n  {advice}") from error
    for name, function in vars(module).items():
        if not (name.startswith("crl_") and inspect.isfunction(function)):
            continue
        if not hasattr(Hooks, name):
            hint = did_you_mean(name, [hook for hook in vars(Hooks) if hook.startswith("crl_")])
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
    """The hooks of this process, loaded once, with one warning per failure."""
    fitting: list[Known] = []
    failed: dict[str, PluginError] = {}
    for known in advertised_hooks():
        try:
            check(known)
            fitting.append(known)
        except PluginError as error:
            failed[known.distribution] = error
    loaded = load_hooks(fitting)
    loaded.failed.update(failed)
    for failure in loaded.failed.values():
        warnings.warn(str(failure), stacklevel=2)
    return loaded


def find_in_families(kind: str, name: str) -> Any:
    """The part that a plugin's hook `crl_find` returns for a name in its namespace, or None.

    Raises:
        CrlError: the hook says that there is no such part; or the plugin's hooks are broken.
    """
    namespace, slash, _ = name.partition("/")
    owners = [part for part in advertised_hooks() if part.namespace == namespace] if slash else []
    for owner in owners:
        loaded = listeners()
        if error := loaded.failed.get(owner.distribution):
            raise PluginError(f"no entry point has the {kind} {name!r}, and {error}") from error
        for hook in loaded.manager.hook.crl_find.get_hookimpls():
            if hook.plugin_name == owner.address and (found := _asked(hook, owner, kind, name)) is not None:
                return found
    return None


def _asked(hook: Any, owner: Known, kind: str, name: str) -> Any:
    arguments = {"kind": kind, "name": name}
    try:
        return hook.function(**{argument: arguments[argument] for argument in hook.argnames})
    except CrlError:
        raise
    except Exception as error:
        raise PluginError(
            f"{kind} {name!r}: the hook crl_find of {owner.distribution} {owner.version} ({owner.target}) raised "
            f"{type(error).__name__}: {error}\n  Other plugins are unaffected. Run: crl doctor {owner.distribution}"
        ) from error


def announce(event: str, **what: Any) -> None:
    """Calls a hook of every plugin. If one raises an error, a warning names its plugin, whose hooks are dropped."""
    loaded = listeners()
    for hook in reversed(getattr(loaded.manager.hook, event).get_hookimpls()):
        try:
            hook.function(**{name: what[name] for name in hook.argnames})
        except Exception as error:
            owner = loaded.owners[hook.plugin_name]
            warnings.warn(
                f"the hook {event} of {owner.distribution} {owner.version} ({owner.target}) raised "
                f"{type(error).__name__}: {error}\n  The run continues without the hooks of this plugin. "
                f"Run: crl doctor {owner.distribution}",
                stacklevel=2,
            )
            loaded.manager.unregister(name=hook.plugin_name)
