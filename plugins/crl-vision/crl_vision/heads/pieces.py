from __future__ import annotations

from torch import Tensor, nn

from crl_core import CrlError, Lazy


class Pieces(Lazy):
    """One embedding of several patches: a linear map of each, concatenated, and a linear map of the result.

    The head for jigsaws of PIRL (Misra and van der Maaten 2020, section 3.3). `[N, pieces, width]` to `[N, size]`.

    >>> import torch
    >>> from crl_vision.heads.pieces import Pieces
    >>> Pieces(size=128, pieces=9)(torch.randn(4, 9, 32)).shape
    torch.Size([4, 128])

    Args:
        size: numbers in an embedding, and in the map of a patch.
        pieces: how many patches.

    Raises:
        CrlError: there are more or fewer patches.
    """

    def __init__(self, size: int = 128, pieces: int = 9) -> None:
        super().__init__()
        self.size, self.pieces = size, pieces

    def build(self, width: int) -> None:
        self.each = nn.Linear(width, self.size)
        self.together = nn.Linear(self.pieces * self.size, self.size)

    def forward(self, patches: Tensor) -> Tensor:
        """`[N, pieces, width]` to `[N, size]`.

        Raises:
            CrlError: there are more or fewer patches.
        """
        if patches.dim() != 3 or patches.shape[1] != self.pieces:
            raise CrlError(f"Pieces takes patches [N, {self.pieces}, d], not {list(patches.shape)}")
        self.ensure_built(patches)
        found: Tensor = self.together(self.each(patches).flatten(1))
        return found
