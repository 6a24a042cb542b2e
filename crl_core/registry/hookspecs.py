"""All events that plugins may listen to (entry point group `crl.hooks`); `@crl_core.hook` marks who listens."""

from __future__ import annotations

from typing import Any

import pluggy

specification = pluggy.HookspecMarker("crl")
hook = pluggy.HookimplMarker("crl")


class Hooks:
    """What can be listened to. Arguments come by keyword; take those that you need."""

    @specification(firstresult=True)
    def crl_find(self, kind: str, name: str) -> Any:
        """A class for a part of an open family, or None.

        A plugin is asked only for names in its own namespace (`timm/*`), with the kind that is wanted. It may
        raise CrlError to say what is wrong with a name, and which one is near.
        """
        return None

    @specification
    def crl_pipeline_built(self, pipeline: Any) -> None:
        """The lazy parts of a `Pipeline` have been made."""

    @specification
    def crl_step_end(self, state: Any) -> None:
        """A step of training is over; of how it stands, `state` tells (`crl_core.State`)."""

    @specification
    def crl_epoch_end(self, state: Any) -> None:
        """An epoch of training is over; `state` as above."""

    @specification
    def crl_doctor(self) -> list[str]:
        """What is wrong with this plugin's surroundings, a line each."""
        return []
