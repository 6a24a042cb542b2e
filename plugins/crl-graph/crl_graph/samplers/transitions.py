from __future__ import annotations

from typing import ClassVar

import torch

from crl_core import View


class Transitions:
    """Steps `observation`, `action`, `next`, and for each another step of the batch: the negative of C-SWM.

    `other` `[B]` is a random order of the batch: the observation that a row is compared with. As in the authors' code,
    a row is sometimes its own, and is then not counted. (Kipf et al. 2020, equation 5)

    >>> from crl_graph.samplers.transitions import Transitions
    >>> from crl_graph.sources.blocks import Blocks
    >>> batch = Blocks(episodes=2, steps=3).items("train").__getitems__([0, 1, 2])
    >>> sorted(Transitions()(batch)["step"].data)
    ['action', 'next', 'observation', 'other']
    """

    views: ClassVar[tuple[str, ...]] = ("step",)

    def __call__(self, batch: View) -> dict[str, View]:
        other = torch.randperm(len(batch), device=batch.data["action"].device)
        return {"step": View({**batch.data, "other": other}, batch.meta)}

    def clean(self, batch: View) -> View:
        return View(batch.data["observation"], batch.meta)
