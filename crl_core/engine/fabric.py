"""Lightning Fabric without torchmetrics: its check of versions would import it, for seconds, where it is installed."""

from __future__ import annotations

import sys
from typing import Any, cast

_hidden = "torchmetrics" not in sys.modules
if _hidden:
    # To the import system, None means that there is no such module. Fabric uses it to detect spikes of the loss alone.
    cast("dict[str, Any]", sys.modules)["torchmetrics"] = None
try:
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException
finally:
    if _hidden:
        del sys.modules["torchmetrics"]

__all__ = ["Fabric", "MisconfigurationException"]
