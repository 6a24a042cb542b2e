from __future__ import annotations

import torch

from crl_core import CrlError, Items, Source, View


class ByClass:
    """Another source, whose training batches hold the same number of items of each of some classes.

    A batch has `classes` classes drawn anew, and of each as many items as fill it (Hermans et al. 2017, P × K).
    An epoch has as many batches as the source's own would. Items without a label are in none.

    Args:
        source: of items with the column `label`.
        classes: in one batch, P. It divides the batch size; the quotient is K.
    """

    def __init__(self, source: Source, classes: int = 8) -> None:
        if classes < 1:
            raise ValueError(f"a batch has at least 1 class, not {classes}")
        self.source, self.classes = source, classes
        self.splits = source.splits
        if hasattr(source, "evaluators"):
            self.evaluators = source.evaluators

    def items(self, split: str) -> Items:
        found = self.source.items(split)
        return ClassBatches(found, self.classes) if split == self.splits[0] else found


class ClassBatches:
    """Items that order themselves: so many classes in a batch, of each the same number."""

    def __init__(self, items: Items, classes: int) -> None:
        self.inner, self.classes = items, classes
        label = _labels(items)
        self._of = [(label == value).nonzero().squeeze(1) for value in label[label >= 0].unique()]
        if len(self._of) < classes:
            raise CrlError(f"a batch of {classes} classes can't be drawn from the {len(self._of)} that there are")

    def __len__(self) -> int:
        return len(self.inner)

    def __getitems__(self, indices: list[int]) -> View:
        return self.inner.__getitems__(indices)

    def batches(self, batch_size: int, generator: torch.Generator) -> list[list[int]]:
        """Of every class the items in a random order, over and over; and random classes for every batch.

        Raises:
            CrlError: the batch size is no multiple of the classes.
        """
        each, rest = divmod(batch_size, self.classes)
        if rest or not each:
            raise CrlError(f"a batch of {batch_size} can't be {self.classes} classes of the same number of items")
        count = max(1, sum(map(len, self._of)) // batch_size)
        decks: list[list[int]] = [[] for _ in self._of]
        found = []
        for _ in range(count):
            batch: list[int] = []
            for place in torch.randperm(len(self._of), generator=generator)[: self.classes].tolist():
                while len(decks[place]) < each:
                    members = self._of[place]
                    decks[place] += members[torch.randperm(len(members), generator=generator)].tolist()
                batch += decks[place][:each]
                decks[place] = decks[place][each:]
            found.append(batch)
        return found


def _labels(items: Items) -> torch.Tensor:
    """`[len(items)]`, -1 where an item can't be read."""
    label = torch.full((len(items),), -1)
    for start in range(0, len(items), 512):
        view = items.__getitems__(list(range(start, min(start + 512, len(items)))))
        if "label" not in view.meta:
            raise CrlError("batches by class need the column 'label', which this source doesn't have")
        label[view.meta["instance"]] = view.meta["label"].long()
    return label
