from __future__ import annotations

from typing import ClassVar

import torch

from crl_core import View


class Transitions:
    """Steps `observation`, `action`, `next`, and for each another of the batch: the negative of C-SWM.

    `other` `[B]` is a random order of the batch: whose observation stands against a row's. As in the source, now
    and then a row is its own, and then counts for nothing that could be learned. (Kipf et al. 2020, equation 5)
    """

    views: ClassVar[tuple[str, ...]] = ("step",)

    def __call__(self, batch: View) -> dict[str, View]:
        other = torch.randperm(len(batch), device=batch.data["action"].device)
        return {"step": View({**batch.data, "other": other}, batch.meta)}

    def clean(self, batch: View) -> View:
        return View(batch.data["observation"], batch.meta)
