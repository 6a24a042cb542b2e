"""What is learned of things that are known by their numbers alone: a row for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...contracts.parts import Items, Source
from ...errors import CrlError


class Numbered(nn.Module):
    """A table of weights `[count, width]`, made when it is known how many rows there are.

    That is at once where `count` is a number. A word is one of the source's `counts`: then the source says it, or the
    state that is loaded, so that a run is opened without its data.

    Raises:
        CrlError: the source has no such count, or counts other than the table has rows.
    """

    weight: nn.Parameter
    _place: Tensor

    def __init__(self, count: int | str, width: int, sparse: bool) -> None:
        super().__init__()
        if width < 1 or (isinstance(count, int) and count < 1):
            raise CrlError(f"a table has at least 1 row of at least 1 number, not {count} of {width}")
        self.count, self.width, self.sparse = count, width, sparse
        # Nothing, in the type and on the device to which the table has been moved before there is one.
        self.register_buffer("_place", torch.empty(0), persistent=False)
        self.register_parameter("weight", None)

    @property
    def made(self) -> bool:
        """Whether it is known how many rows there are."""
        return self._parameters["weight"] is not None

    def start(self, weight: Tensor) -> None:
        """Fills the rows with what they begin with."""
        raise NotImplementedError

    def make(self, rows: int) -> None:
        """Makes the weights, of so many rows."""
        self.weight = nn.Parameter(self._place.new_empty(rows, self.width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        if self.made:
            self.start(self.weight)

    def on_source(self, items: Items, source: Source) -> None:
        """Takes the number of rows from the source, where it goes by a name."""
        if not isinstance(self.count, str):
            return
        counts: Mapping[str, int] = getattr(source, "counts", {})
        if self.count not in counts:
            raise CrlError(
                f"a table of {self.count}, but {type(source).__name__} counts "
                f"{', '.join(counts) or 'nothing'}: give the table a number, `count`"
            )
        if not self.made:
            self.make(counts[self.count])
        elif len(self.weight) != counts[self.count]:
            raise CrlError(
                f"a table of {len(self.weight)} {self.count}, but {type(source).__name__} has {counts[self.count]}: it "
                f"was made for another source"
            )

    def check_made(self) -> None:
        """Raises CrlError if it isn't known yet how many rows there are."""
        if not self.made:
            raise CrlError(
                f"a table doesn't know how many {self.count} there are: call pipeline.build(batch, source), or fit"
            )

    def no_such_row(self, which: Tensor) -> CrlError:
        """What to raise where one of these numbers is no row's."""
        return CrlError(
            f"a table of {len(self.weight)} rows was asked for number {int(which.max())} and {int(which.min())}: "
            f"made for another source, or something that is unknown?"
        )

    def rows(self, which: Tensor) -> Tensor:
        """The rows `[…, width]` of these numbers `[…]`.

        Raises:
            CrlError: a number is not from 0 to the last row's (on a GPU torch itself stops the process), or it isn't
                known yet how many rows there are.
        """
        self.check_made()
        if which.is_floating_point():
            raise CrlError(f"a table is asked for whole numbers, not for numbers of type {which.dtype}")
        try:
            if self.sparse and torch.is_grad_enabled():
                return self._sparse(which)
            # Its gradient takes half as long as that of F.embedding.
            return self.weight.index_select(0, which.flatten()).view(*which.shape, self.width)
        except IndexError:
            raise self.no_such_row(which) from None

    def _sparse(self, which: Tensor) -> Tensor:
        return F.embedding(which, self.weight, sparse=True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        held = state_dict.get(f"{prefix}weight")
        if held is not None and isinstance(self.count, str):
            if not self.made:
                self.weight = nn.Parameter(self._place.new_empty(held.shape))
            elif len(held) != len(self.weight):
                raise CrlError(
                    f"a table of {len(self.weight)} {self.count}, but the state is of {len(held)}: it was made for "
                    f"another source"
                )
        super()._load_from_state_dict(state_dict, prefix, *args)
