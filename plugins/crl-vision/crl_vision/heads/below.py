from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from crl_core import CrlError, Embeddings, Lazy


class Below(Lazy):
    """Predicts patches from all patches above them: the context of CPC on images, and one linear map per row ahead.

    The context is a stack of masked convolutions that see their own row and those above it (PixelCNN, van den Oord
    et al. 2016; the layers are those of Hénaff et al. 2020, appendix A). The linear map for each row ahead is
    the query's half of a bilinear score (van den Oord et al. 2018, equation 3).

    A square grid of patches `[N, L, width]`, line by line, to all Q predictions `[N, Q, size]`. The column `position`
    is the patch that is predicted, `step` the number of rows that it is ahead.

    >>> import torch
    >>> from crl_vision.heads.below import Below
    >>> found = Below(first=1, last=2, layers=1, hidden=8)(torch.randn(2, 16, 8))  # grids of 4 × 4
    >>> found.z.shape  # 12 patches one row ahead, 8 patches two rows ahead
    torch.Size([2, 20, 8])
    >>> found.meta["position"][0]
    tensor([ 4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15,  8,  9, 10, 11, 12, 13,
            14, 15])

    Args:
        size: numbers in a prediction; None stands for the width of the patches.
        first, last: the smallest and the largest number of rows ahead.
        directions: 1 looks from above; 4 from all sides, each with a context of its own (CPC v2).
        layers, hidden: of the context: how many masked convolutions, and their inner width.

    Raises:
        ValueError: `first` is not from 1 to `last`, or `directions` is neither 1 nor 4.
        CrlError: the patches are no square grid of more than `last` rows.
    """

    def __init__(
        self,
        size: int | None = None,
        first: int = 1,
        last: int = 5,
        directions: Literal[1, 4] = 1,
        layers: int = 5,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        if not 1 <= first <= last:
            raise ValueError(f"first is from 1 to last, not {first} with last = {last}")
        if directions not in (1, 4):
            raise ValueError(f"directions are 1 or 4, not {directions!r}")
        self.size, self.first, self.last, self.directions = size, first, last, directions
        self.layers, self.hidden = layers, hidden

    def build(self, width: int) -> None:
        size, steps = self.size or width, range(self.first, self.last + 1)
        self.contexts = nn.ModuleList(
            nn.Sequential(*(_Masked(width, self.hidden) for _ in range(self.layers))) for _ in range(self.directions)
        )
        self.ahead = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, size, bias=False) for _ in steps) for _ in range(self.directions)
        )

    def forward(self, patches: Tensor) -> Embeddings:
        """A grid of patches `[N, L, width]`, line by line, to all predictions `[N, Q, size]`.

        The column `position` is the patch that is predicted, `step` how many rows it lies ahead.

        Raises:
            CrlError: they are no square grid, or it has no row so far ahead.
        """
        self.ensure_built(patches)
        count, many, width = patches.shape
        side = math.isqrt(many)
        if side * side != many or side <= self.last:
            raise CrlError(
                f"{many} patches are no square grid of more than {self.last} rows, which is how far ahead to look"
            )
        grid = patches.view(count, side, side, width)
        place = torch.arange(many, device=patches.device).view(side, side)
        found, position, step = [], [], []
        for turn, (context, ahead) in enumerate(zip(self.contexts, self.ahead, strict=True)):
            # After a quarter turn, what was to the side is below.
            seen = context(grid.rot90(turn, (1, 2)).permute(0, 3, 1, 2)).relu().permute(0, 2, 3, 1)
            target = place.rot90(turn)
            for rows, predict in zip(range(self.first, self.last + 1), ahead, strict=True):  # type: ignore[call-overload]
                found.append(predict(seen[:, :-rows]).flatten(1, 2))
                position.append(target[rows:].flatten())
                step.append(torch.full_like(position[-1], rows))
        z = torch.cat(found, 1)
        columns = {"position": torch.cat(position), "step": torch.cat(step)}
        return Embeddings(z, {name: column.expand(z.shape[:-1]) for name, column in columns.items()})


class _Masked(nn.Module):
    """A residual step that sees a row and the one above: `[N, width, H, W]`."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, (1, 3), padding=(0, 1)),
            nn.ZeroPad2d((0, 0, 1, 0)),
            nn.Conv2d(hidden, hidden, (2, 1)),
            nn.ReLU(),
            nn.Conv2d(hidden, width, 1),
        )

    def forward(self, grid: Tensor) -> Tensor:
        found: Tensor = grid + self.layers(grid)
        return found
