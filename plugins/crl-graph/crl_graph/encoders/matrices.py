from __future__ import annotations

from torch import Tensor

from crl_core import Numbered


class Matrices(Numbered):
    """A square matrix for each of `count` relations (Paccanaro and Hinton 2001; RESCAL, Nickel et al. 2011).

    Numbers `[N]` to matrices `[N, size, size]`. Initialised from a normal distribution of variance 1/size, which keeps
    the length of a vector about the same.

    >>> import torch
    >>> from crl_graph.encoders.matrices import Matrices
    >>> Matrices(12, 8)(torch.tensor([0, 11])).shape
    torch.Size([2, 8, 8])

    Args:
        count: how many there are, or the word by which the source counts them: "relations".
        size: rows and columns of a matrix.
        sparse: gradients hold only the matrices of the batch; for optimisers that take sparse gradients.
    """

    def __init__(self, count: int | str, size: int = 64, sparse: bool = False) -> None:
        super().__init__(count, size * size, sparse)
        self.size = size
        if isinstance(count, int):
            self.make(count)

    def start(self, weight: Tensor) -> None:
        weight.normal_(std=self.size**-0.5)

    def forward(self, which: Tensor) -> Tensor:
        """The matrices `[…, size, size]` of these numbers `[…]`."""
        return self.rows(which).view(*which.shape, self.size, self.size)
