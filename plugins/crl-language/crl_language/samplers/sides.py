from __future__ import annotations

from crl_core import CrlError, View, Views


class Sides:
    """The two sides of pairs as views, or all three of triples: a question and its answer, a text and its translation.

    A batch's data are a mapping, such as `{"left": Tokens, "right": Tokens}`. Nothing is random. Texts that are no
    pairs can be encoded too: then each is either side.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_language.samplers.sides import Sides
    >>> batch = crl.View({"left": torch.randn(3, 4), "right": torch.randn(3, 4)}, {"instance": torch.arange(3)})
    >>> list(Sides()(batch))
    ['left', 'right']

    Args:
        names: of the sides; None stands for `left` and `right`.

    Raises:
        CrlError: the batch has no such sides.
    """

    def __init__(self, names: list[str] | None = None) -> None:
        if names is not None and len(set(names)) < 2:
            raise CrlError(f"pairs have two sides or more, not {', '.join(names)}")
        self.names = names

    @property
    def views(self) -> tuple[str, ...]:
        return ("left", "right") if self.names is None else tuple(self.names)

    def __call__(self, batch: View) -> Views:
        if not isinstance(batch.data, dict) or not set(self.views) <= set(batch.data):
            found = ", ".join(batch.data) if isinstance(batch.data, dict) else f"a {type(batch.data).__name__}"
            raise CrlError(f"items with the sides {', '.join(self.views)} are needed, and these have {found}")
        return {name: View(batch.data[name], batch.meta, batch.source) for name in self.views}

    def clean(self, batch: View) -> View | Views:
        return self(batch) if isinstance(batch.data, dict) else batch
