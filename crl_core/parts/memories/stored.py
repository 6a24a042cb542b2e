"""Where `Stored` stood in version 0.1."""

import warnings

from ..keys.stored import Stored

__all__ = ["Stored"]

warnings.warn(
    "crl_core.parts.memories.stored is gone with version 0.4: from crl_core import Stored",
    DeprecationWarning,
    stacklevel=2,
)
