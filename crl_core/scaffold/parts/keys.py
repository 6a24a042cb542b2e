from __future__ import annotations

from crl_core import Embeddings, Stored


class Previous(Stored):
    """The keys of the previous step, with their columns."""

    def keys(self) -> Embeddings | None:
        held = self.stored
        if not held:
            return None
        meta = {name.removeprefix("meta_"): column for name, column in held.items() if name.startswith("meta_")}
        return Embeddings(held["z"], meta)

    def update(self, keys: Embeddings) -> None:
        self.store(z=keys.z.detach().clone())
        self.store(**{f"meta_{name}": column.clone() for name, column in keys.meta.items()})
