from __future__ import annotations

from typing import ClassVar

from crl_core import View, Views


class Twice:
    """The same items as both views, `a` and `b`: what makes them different is the encoder's dropout.

    SimCSE (Gao et al. 2021). In training mode each view has dropout masks of its own.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_language.samplers.twice import Twice
    >>> views = Twice()(crl.View(torch.randn(3, 4), {"instance": torch.arange(3)}))
    >>> views["a"].data is views["b"].data
    True
    """

    views: ClassVar[tuple[str, ...]] = ("a", "b")

    def __call__(self, batch: View) -> Views:
        return dict.fromkeys(self.views, batch)

    def clean(self, batch: View) -> View:
        return batch
