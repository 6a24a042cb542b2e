"""All hooks that a plugin may have (entry point group `crl.hooks`), each marked with `@crl_core.hook`."""

from __future__ import annotations

from typing import Any

import pluggy

specification = pluggy.HookspecMarker("crl")
hook = pluggy.HookimplMarker("crl")


class Hooks:
    """The hooks. Arguments are passed by name; a hook may leave out those that it doesn't need."""

    @specification(firstresult=True)
    def crl_find(self, kind: str, name: str) -> Any:
        """The class for a name in a family of parts, or None.

        It is called only for names in the plugin's own namespace (`timm/*`) that have no entry point. It may
        raise CrlError to say what is wrong with a name, and which name is close to it.
        """
        return None

    @specification
    def crl_pipeline_built(self, pipeline: Any) -> None:
        """The lazy parts of a `Pipeline` have been made."""

    @specification
    def crl_step_end(self, state: Any) -> None:
        """A step of training is over; `state` is a `crl_core.State`."""

    @specification
    def crl_epoch_end(self, state: Any) -> None:
        """An epoch of training is over; `state` as above."""

    @specification
    def crl_doctor(self) -> list[str]:
        """Problems with the plugin's environment, a line each."""
        return []
