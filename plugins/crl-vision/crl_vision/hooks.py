"""Opens the family of torchvision's models: there are more than anybody wants to list one by one."""

from __future__ import annotations

from typing import Any

import crl_core as crl


@crl.hook
def crl_find(kind: str, name: str) -> type[Any] | None:
    """The encoder `vision/<model>`, for any classifier of torchvision."""
    if kind != "encoder":
        return None
    from .encoders.torchvision_models import models, opened  # torchvision takes a second to import

    model = name.removeprefix("vision/")
    return opened(model) if model in models() else None
