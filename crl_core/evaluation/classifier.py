"""A linear classifier on an encoder, trained on labels, with or without the encoder."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts.parts import Progress, Source
from ..data.view import View
from ..engine.loading import as_items
from ..errors import CrlError, did_you_mean
from ..method.pipeline import Pipeline
from ..parts.schedules.cosine_decay import CosineDecay
from .labelled import batch_of, labelled, labels
from .tables import device_of


class Classifier(nn.Module):
    """A copy of a pipeline with a linear layer on one branch's representation.

    Args:
        view: the sampler's random view that it is trained on; None for the clean view.
        trains: whether the encoder trains too; otherwise it stays in evaluation mode.
    """

    def __init__(self, pipeline: Pipeline, classes: int, branch: str | None, view: str | None, trains: bool) -> None:
        super().__init__()
        views = pipeline.views
        if view is not None and view not in views:
            raise CrlError(
                f"the sampler draws no view {view!r}; it draws {', '.join(views)}.{did_you_mean(view, views)}"
            )
        self.pipeline = copy.deepcopy(pipeline).requires_grad_(trains)
        self.branch, self.view, self.trains = branch, view, trains
        self.classes = classes
        self.layer: nn.Linear | None = None

    def forward(self, batch: View) -> Tensor:
        """Logits `[N, classes]`: of the chosen view in training, and of the clean view otherwise."""
        drawn = self.view is not None and self.training
        view = self.pipeline.draw(batch)[str(self.view)] if drawn else self.pipeline.clean(batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains):
            z = self.pipeline.representation(view, self.branch).float()
        if self.layer is None:
            self.layer = nn.Linear(z.shape[1], self.classes).to(z.device)
        logits: Tensor = self.layer(z)
        return logits

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        self.pipeline.train(mode and self.trains)
        return self


def check_training(epochs: int, batch_size: int, learning_rate: float) -> None:
    """Raises CrlError if one of these numbers is out of its range."""
    if epochs < 1 or batch_size < 2 or not learning_rate > 0:
        raise CrlError(
            f"epochs are at least 1, a batch at least 2 and the learning rate is above 0: "
            f"not {epochs}, {batch_size}, {learning_rate!r}"
        )


def accuracy(
    pipeline: Pipeline,
    source: Source,
    split: str,
    *,
    trains: bool,
    fraction: float,
    epochs: int,
    batch_size: int,
    rate: float,
    view: str | None,
    branch: str | None,
) -> float:
    """The accuracy of a classifier on the split, after its last epoch.

    It is trained on a fraction of the training items of each label, at least one, with AdamW and a learning rate
    that falls along half a cosine.
    """
    items, device = as_items(source.items(source.splits[0])), device_of(pipeline)
    index, label = labels(items)
    index = index[_some(label, fraction)]
    model = Classifier(pipeline, int(label.max()) + 1, branch, view, trains).train()
    with torch.no_grad():
        model.eval()(batch_of(items, index[:2].tolist()).to(device))  # makes the layer
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], rate)
    steps, size = -(-len(index) // batch_size), min(batch_size, len(index))
    with torch.enable_grad():
        model.train()
        for step in range(epochs * steps):
            if step % steps == 0:
                order = index[torch.randperm(len(index))]
            chosen = order[step % steps * size :][:size]
            if len(chosen) == 1 and len(index) > 1:
                continue  # batch normalisation needs more than one row
            batch = batch_of(items, chosen.tolist()).to(device)
            for group in optimiser.param_groups:
                group["lr"] = rate * CosineDecay()(Progress(step, epochs * steps, step // steps, epochs))
            loss = F.cross_entropy(model(batch), batch.meta["label"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    right = count = 0
    with torch.no_grad():
        for batch in labelled(source.items(split)):
            logits = model(batch.to(device)).cpu()
            right += int((logits.argmax(1) == batch.meta["label"]).sum())
            count += len(batch)
    return right / count


def _some(label: Tensor, fraction: float) -> Tensor:
    """Indices of a fraction of the rows of each label, at least one; the same every time."""
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(0))
    rank = torch.zeros_like(label)
    for one in torch.unique(label).tolist():
        mine = order[label[order] == one]
        rank[mine] = torch.arange(len(mine))
    share = (torch.bincount(label)[label] * fraction).round().clamp(min=1)
    return (rank < share).nonzero().squeeze(1)
