"""Opens the family `timm/*`: timm has more models than anybody wants to list one by one."""

from __future__ import annotations

from typing import Any

import crl_core as crl


@crl.hook
def crl_find(kind: str, name: str) -> type[Any] | None:
    """The encoder `timm/<model>`, for any model of timm."""
    if kind != "encoder":
        return None
    from .encoders import opened  # timm takes seconds to import

    return opened(name.removeprefix("timm/"))
