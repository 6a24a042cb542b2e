"""Imports Lightning Fabric without torchmetrics, whose import takes seconds, only for a check of its version."""

from __future__ import annotations

import sys
from typing import Any, cast

_hidden = "torchmetrics" not in sys.modules
if _hidden:
    # With None here, an import says that there is no such module. Fabric uses it only to detect spikes of the loss.
    cast("dict[str, Any]", sys.modules)["torchmetrics"] = None
try:
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException
finally:
    if _hidden:
        del sys.modules["torchmetrics"]

__all__ = ["Fabric", "MisconfigurationException"]
