from __future__ import annotations

from torch import Tensor, nn

from ..lazy import Lazy


class MLP(Lazy):
    """`depth` linear layers with ReLU between them: the projection head of Chen et al. 2020.

    `[…, width]` to `[…, size]`. Made for the width of its first input.

    >>> import torch
    >>> import crl_core as crl
    >>> head = crl.MLP(128, hidden=2048)
    >>> head(torch.randn(32, 512)).shape
    torch.Size([32, 128])
    >>> [type(layer).__name__ for layer in head.layers]
    ['Linear', 'BatchNorm1d', 'ReLU', 'Linear']

    Args:
        size: numbers in an embedding.
        hidden: width of the hidden layers; None stands for the width of the input.
        depth: linear layers in all (SimCLR and MoCo v2 have 2, SimCLR v2 has 3).
        norm: batch normalisation after each hidden layer, over all rows (SimCLR, BYOL; not MoCo v2).
        final_norm: batch normalisation after the last layer too, without an affine map (SimSiam, NNCLR).

    Raises:
        ValueError: the depth is below 1.
    """

    def __init__(
        self, size: int = 128, hidden: int | None = None, depth: int = 2, norm: bool = True, final_norm: bool = False
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"an MLP has at least 1 layer, not {depth}")
        self.size, self.hidden, self.depth, self.norm, self.final_norm = size, hidden, depth, norm, final_norm

    def build(self, width: int) -> None:
        self.layers = perceptron(width, self.hidden or width, self.size, self.depth, self.norm)
        if self.final_norm:
            self.layers.append(nn.BatchNorm1d(self.size, affine=False))

    def forward(self, features: Tensor) -> Tensor:
        """`[…, width]` to `[…, size]`; batch statistics are taken over all rows."""
        self.ensure_built(features)
        output: Tensor = self.layers(features.flatten(0, -2))
        return output.view(*features.shape[:-1], output.shape[-1])


def perceptron(width: int, hidden: int, size: int, depth: int, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        # Batch normalisation has a shift of its own.
        layers += [nn.Linear(width, hidden, bias=not norm), *([nn.BatchNorm1d(hidden)] if norm else []), nn.ReLU()]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, size))
