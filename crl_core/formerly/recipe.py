"""`crl_core.recipe` was a module in crl 0.1, and is a function today. This module is both."""

import sys
import types
from typing import Any

from crl_core.formerly import moved

__getattr__ = moved("crl_core.recipe", "recipes.recipe")


class _Both(types.ModuleType):
    def __call__(self, *args: Any, **settings: Any) -> Any:
        from crl_core.recipes.prepare import recipe

        return recipe(*args, **settings)


sys.modules[__name__].__class__ = _Both
