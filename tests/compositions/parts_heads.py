"""Heads that several methods share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import crl_core as crl
from crl_core.contracts.parts import Head


class Unit(nn.Module):
    """A head whose embeddings have length 1."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.head(features), dim=-1)


crl.register("head", "unit", Unit)
