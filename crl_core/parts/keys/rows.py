from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ...data.view import Embeddings
from ...errors import CrlError
from .stored import Stored


class Rows(Stored):
    """Room for `size` embeddings with their columns; the first keys decide which columns.

    Without a size, it is learned: from the source, or from a loaded state.
    """

    def __init__(self, size: int | None) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise ValueError(f"a {self._noun} holds at least 1 key, not {size}")
        self.size = size
        self._learned: int | None = None
        self.z: Tensor

    @property
    def room(self) -> int:
        """How many keys it has room for.

        Raises:
            CrlError: it is not known yet.
        """
        found = self._known
        if found is None:
            raise CrlError(
                f"the {self._noun} doesn't know how many items there are: call pipeline.build(batch, source) or "
                f"fit, or give it a `size`"
            )
        return found

    @property
    def _known(self) -> int | None:
        return self.size if self.size is not None else self._learned

    @property
    def _noun(self) -> str:
        return type(self).__name__.lower()

    @property
    def columns(self) -> dict[str, Tensor]:
        """All columns `[size]`; unknown where nothing has been written."""
        return {name.removeprefix("meta_"): column for name, column in self.stored.items() if name.startswith("meta_")}

    def read(self, places: Tensor | slice) -> Embeddings:
        return Embeddings(self.z[places], {name: column[places] for name, column in self.columns.items()})

    def write(self, places: Tensor, rows: Embeddings) -> None:
        self.z[places] = rows.z.to(self.z.dtype)
        for name, column in self.columns.items():
            column[places] = rows.meta[name]

    def ready_for(self, keys: Embeddings) -> None:
        """Makes room, if these are the first.

        Raises:
            CrlError: they have other columns than those before, or another dimension.
        """
        if "z" not in self.stored:
            self.store(z=keys.z.new_zeros(self.room, *keys.z.shape[1:]))
            self.store(**{f"meta_{name}": _unknown(column, self.room) for name, column in keys.meta.items()})
        if set(keys.meta) != set(self.columns):
            raise CrlError(
                f"the {self._noun} holds keys with the columns {', '.join(sorted(self.columns))}; "
                f"these have {', '.join(sorted(keys.meta))}"
            )
        if keys.z.shape[1:] != self.z.shape[1:]:
            raise CrlError(f"the {self._noun} holds keys of {self.z.shape[1]} dimensions; these have {keys.z.shape[1]}")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        held = state_dict.get(f"{prefix}z")
        if held is not None and self._known not in (None, len(held)):
            raise CrlError(f"the {self._noun} has room for {self._known} keys, and the state holds {len(held)}")
        if held is not None:
            self._learned = len(held)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _unknown(column: Tensor, size: int) -> Tensor:
    """`[size, …]` values that are the same as nothing."""
    nothing = math.nan if column.is_floating_point() else -1 if column.dtype.is_signed else 0
    return column.new_full((size, *column.shape[1:]), nothing)
