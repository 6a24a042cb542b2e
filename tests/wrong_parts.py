"""Parts that each break one promise, for the conformance kit to catch."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from small import Noisy, Perceptron, PointItems, Points
from torch import Tensor, nn

from crl_core import (
    MLP,
    Cosine,
    CrlError,
    Drawn,
    Embeddings,
    InfoNCE,
    Items,
    Momentum,
    Pairs,
    Progress,
    Queue,
    Scores,
    Source,
    View,
)
from crl_core.contracts.kernels import Outcome, Problem
from crl_core.kernels.dense import Dense

# -- losses --------------------------------------------------------------------------------------------------


class Overflows(nn.Module):
    """InfoNCE with exp written out: infinite at low temperatures."""

    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        positive = scores.positive.max().exp()
        return -(positive / (positive + scores.negative.sum(torch.exp))).log()


class MixesRows(nn.Module):
    """Adds a share of the mean over the batch."""

    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        loss = F.softplus(scores.negative.logsumexp() - scores.positive.max())
        return loss + 0.2 * loss.mean()


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] / 2


class WrongGradient(nn.Module):
    """A backward of its own, with half the gradient."""

    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return _Halved.apply(F.softplus(scores.negative.logsumexp() - scores.positive.max()))  # type: ignore[no-any-return]


class Detached(nn.Module):
    """Returns a value without a gradient."""

    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return F.softplus(scores.negative.logsumexp() - scores.positive.max()).detach()


class WrongSign(nn.Module):
    """Pushes positives away."""

    takes = "scores"

    def forward(self, scores: Scores) -> Tensor:
        return F.softplus(scores.positive.logsumexp() - scores.negative.max())


class OwnStatistics(nn.Module):
    """Pairs compared after a centring by the rows of its own process."""

    takes = "pairs"

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return (query - query.mean(0) - key + key.mean(0)).square().sum(-1)


class Unannotated(nn.Module):
    """Has an option without a type."""

    takes = "scores"

    def __init__(self, margin=0.0) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.margin = margin

    def forward(self, scores: Scores) -> Tensor:
        return F.softplus(scores.negative.logsumexp() - scores.positive.max() + self.margin)


class OtherName(nn.Module):
    """Keeps an option under another name."""

    takes = "scores"

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        self._margin = margin

    def forward(self, scores: Scores) -> Tensor:
        return F.softplus(scores.negative.logsumexp() - scores.positive.max() + self._margin)


# -- encoders and heads ---------------------------------------------------------------------------------------


class BatchStatistics(Perceptron):
    """Centres by the batch in evaluation mode too."""

    def forward(self, data: Tensor) -> Tensor:
        return super().forward(data - data.mean(0))


class DeadWeight(Perceptron):
    """Has a weight that it doesn't use."""

    def __init__(self, width: int = 8, norm: bool = True) -> None:
        super().__init__(width, norm)
        self.unused = nn.Parameter(torch.zeros(3))


class LosesState(Perceptron):
    """Counts in an attribute that no state holds."""

    def __init__(self, width: int = 8, norm: bool = True) -> None:
        super().__init__(width, norm)
        self.seen = 1.0

    def forward(self, data: Tensor) -> Tensor:
        self.seen = self.seen + 1.0 if self.training else self.seen
        return super().forward(data) * self.seen


class Breaks(Perceptron):
    """Looks at a number in the middle, where a compiler has to stop."""

    def forward(self, data: Tensor) -> Tensor:
        found = super().forward(data)
        return found * 2 if found.sum().item() > 1e9 else found


class TakesACallable(nn.Module):
    """A head that is configured with code."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.activation = activation
        self.layer = nn.Linear(16, 4)

    def forward(self, features: Tensor) -> Tensor:
        return self.activation(self.layer(features))


class HoldsALambda(MLP):
    """A head that can't be sent to another process."""

    def __init__(self, size: int = 4, hidden: int | None = None, depth: int = 2, norm: bool = True) -> None:
        super().__init__(size, hidden, depth, norm)
        self.then = lambda values: values

    def forward(self, features: Tensor) -> Tensor:
        return self.then(super().forward(features))


# -- samplers -------------------------------------------------------------------------------------------------


class LosesInstance(Noisy):
    """Gives views without metadata."""

    def __call__(self, batch: View) -> dict[str, View]:
        label = {"label": batch.meta["label"]}
        return {name: View(view.data, label) for name, view in super().__call__(batch).items()}


class OneDrawForAll(Noisy):
    """Scales the whole batch by one random number."""

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data * torch.rand(()), batch.meta) for name in self.views}


class MixesItems(Noisy):
    """Puts a little of another row into each."""

    def __call__(self, batch: View) -> dict[str, View]:
        mixed = View(batch.data + 0.1 * batch.data.roll(1, 0), batch.meta)
        return super().__call__(mixed)


class SeedsTorch(Noisy):
    """Seeds everybody's random numbers."""

    def __call__(self, batch: View) -> dict[str, View]:
        torch.manual_seed(0)
        return super().__call__(batch)


class DrawsFromPython(Noisy):
    """Draws what no run seeds."""

    def __call__(self, batch: View) -> dict[str, View]:
        noise = torch.tensor([[random.random()] for _ in range(len(batch))], device=batch.data.device)
        return {name: View(batch.data + noise, batch.meta) for name in self.views}


class IgnoresTheDevice(Noisy):
    """Makes its noise on the CPU."""

    def __call__(self, batch: View) -> dict[str, View]:
        return {name: View(batch.data + torch.randn(batch.data.shape), batch.meta) for name in self.views}


class WritesIntoItsInput(Noisy):
    """Changes the batch that it is handed."""

    def __call__(self, batch: View) -> dict[str, View]:
        batch.data.add_(1.0)
        return super().__call__(batch)


# -- scores ---------------------------------------------------------------------------------------------------


class LowerIsCloser(nn.Module):
    """A distance."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        if query.dim() == 2:
            return torch.cdist(query, key)
        return (query - key).norm(dim=-1)


class WrongFactors(Cosine):
    """Its factors forget the temperature."""

    def factors(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(query, dim=-1), F.normalize(key, dim=-1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return Cosine(self.temperature)(query, key)


class NotSymmetric(nn.Module):
    """Says that it is symmetric, and weighs the query's dimensions."""

    symmetric: ClassVar[bool] = True

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        weighted = F.normalize(query, dim=-1) - 0.1 * query
        return weighted @ key.T if query.dim() == 2 else (weighted * key).sum(-1)


class OneLayout(nn.Module):
    """Knows no keys per query."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return F.normalize(query, dim=-1) @ key.mT


# -- memories -------------------------------------------------------------------------------------------------


class ForgetsMetadata(Queue):
    """Holds keys without the columns that say whose they are."""

    def keys(self) -> Embeddings | None:
        held = super().keys()
        return None if held is None else Embeddings(held.z, {"batch": held.meta["batch"]})


class WrongMetadata(Queue):
    """Gives each key the columns of another."""

    def keys(self) -> Embeddings | None:
        held = super().keys()
        return None if held is None else Embeddings(held.z, {n: c.roll(1, 0) for n, c in held.meta.items()})


class ForgetsItsState(nn.Module):
    """Holds the last keys where no state finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Embeddings | None = None

    def keys(self) -> Embeddings | None:
        return self.held

    def update(self, keys: Embeddings) -> None:
        self.held = Embeddings(keys.z.detach().clone(), dict(keys.meta))


class KeepsTheGraph(nn.Module):
    """Holds the last keys with their gradient."""

    held: Embeddings | None = None

    def keys(self) -> Embeddings | None:
        return self.held

    def update(self, keys: Embeddings) -> None:
        self.held = keys


class MakesUpKeys(Drawn):
    """Chooses halves of keys."""

    def __init__(self, count: int = 4) -> None:
        super().__init__(count)

    def choose(self, pairs: Pairs) -> Pairs:
        found = super().choose(pairs)
        (key,) = found.keys
        return dataclasses.replace(found, keys=(Embeddings(key.z / 2, key.meta),))


class LosesThePositive(Drawn):
    """Takes the first few keys of the batch, whatever they are."""

    def __init__(self, count: int = 4) -> None:
        super().__init__(count)

    def choose(self, pairs: Pairs) -> Pairs:
        negative = pairs.masks()[1].int().topk(self.count, dim=1).indices
        key = Embeddings(pairs.key[negative], {name: column[negative] for name, column in pairs.key_meta.items()})
        return dataclasses.replace(pairs, keys=(key,))


class IsNoNumber(Queue):
    """Divides its keys by their number less one."""

    def keys(self) -> Embeddings | None:
        held = super().keys()
        return None if held is None else Embeddings(held.z * torch.nan, held.meta)


# -- optimisers, schedules, readers, sources as options, names of earlier versions -------------------------------


class DecaysAll:
    """SGD that decays whatever the groups say."""

    sparse = "no"

    def __init__(self, learning_rate: float = 0.1) -> None:
        self.learning_rate = learning_rate

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.SGD([{**group, "weight_decay": 0.01} for group in groups], lr=self.learning_rate)


class MovesWholeTables:
    """Says that it takes sparse gradients, and decays every row of a table."""

    sparse = "yes"

    def __init__(self, learning_rate: float = 0.1) -> None:
        self.learning_rate = learning_rate

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Decaying(groups, {"lr": self.learning_rate})


class _Decaying(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.dim() > 1:
                    parameter.mul_(1 - 0.01 * group["lr"])
                parameter.add_(parameter.grad, alpha=-group["lr"])


class StandsStill:
    """Has a learning rate, and takes no step."""

    sparse = "no"

    def __init__(self, learning_rate: float = 0.1) -> None:
        self.learning_rate = learning_rate

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Still(groups, {"lr": self.learning_rate})


class _Still(torch.optim.Optimizer):
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        pass


class FallsBelowZero:
    """A straight fall that goes on."""

    def __call__(self, progress: Progress) -> float:
        return 1.0 - 1.5 * progress.fraction


class NumbersByLength:
    """Numbers its texts by their length."""

    def __call__(self, items: Sequence[str]) -> View:
        length = torch.tensor([len(text) for text in items])
        return View(length.float().unsqueeze(1), {"instance": length})


class PadsToTheLongest:
    """Makes texts shares of the longest one's length."""

    def __call__(self, items: Sequence[str]) -> View:
        length = torch.tensor([float(len(text)) for text in items])
        return View((length / length.max()).unsqueeze(1), {"instance": torch.arange(len(items))})


class LeavesOutTheShort:
    """Leaves out what it can't read."""

    def __call__(self, items: Sequence[str]) -> View:
        length = torch.tensor([float(len(text)) for text in items if " " in text])
        return View(length.unsqueeze(1), {"instance": torch.arange(len(length))})


class ReadsPoints:
    """A reader of lists of numbers."""

    def __call__(self, items: Sequence[Sequence[float]]) -> View:
        return View(torch.tensor([[x / 2 for x in item] for item in items]), {"instance": torch.arange(len(items))})


class TakesASource(MLP):
    """A head that wants a source of its own."""

    def __init__(self, size: int = 4, source: Source | None = None) -> None:
        super().__init__(size)
        self.source = source


class ForgetsItsOldWords(Cosine):
    """Says that an option was called otherwise, and means one that it doesn't have."""

    renamed: ClassVar[dict[str, str]] = {"tau": "temperatur"}


class CountsItems(Perceptron):
    """An encoder with a number for every training item, whose number its source tells."""

    def __init__(self, width: int = 8, norm: bool = True) -> None:
        super().__init__(width, norm)
        self.items = 0

    def on_source(self, items: Items, source: Source) -> None:
        self.items = len(items)

    def forward(self, data: Tensor) -> Tensor:
        if not self.items:
            raise CrlError("it has met no source: call pipeline.build(batch, source) or fit")
        return super().forward(data) + 1 / self.items


class CleansBothViews(Noisy):
    """Gives both views with nothing random."""

    def clean(self, batch: View) -> dict[str, View]:  # type: ignore[override]
        return {"a": batch, "b": View(-batch.data, batch.meta)}


class CleansUnknownViews(Noisy):
    """Gives a view that it doesn't name."""

    def clean(self, batch: View) -> dict[str, View]:  # type: ignore[override]
        return {"a": batch, "c": batch}


class CleansAtRandom(Noisy):
    """Gives two views, one of them random."""

    def clean(self, batch: View) -> dict[str, View]:  # type: ignore[override]
        return {"a": batch, "b": self(batch)["b"]}


# -- updates, sources, kernels ----------------------------------------------------------------------------------


class LetsGradientThrough(Momentum):
    """Makes a copy that an optimiser would train."""

    def follow(self, module: nn.Module) -> nn.Module:
        return copy.deepcopy(module)


class MovesAway(Momentum):
    """Has its average the wrong way round."""

    @torch.no_grad()
    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        for own, other in zip(follower.parameters(), module.parameters(), strict=True):
            own.add_(own - other, alpha=0.5)


class ChangesTheFollowed(Momentum):
    """Moves the module instead of the copy."""

    def advance(self, module: nn.Module, follower: nn.Module, progress: Progress) -> None:
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(0.9)


class GoodPoints(Points):
    """A source that keeps all promises."""

    def items(self, split: str) -> PointItems:
        if split not in self.splits:
            raise CrlError(f"no split {split!r}")
        return super().items(split)


class Shuffled(GoodPoints):
    """Numbers its items the wrong way round."""

    def items(self, split: str) -> PointItems:
        found = super().items(split)
        found.columns = {**found.columns, "instance": found.columns["instance"].flip(0)}
        return found


class TakesAnySplit(Points):
    """Gives the test items for whatever name."""


class Spring:
    """A stream of points that goes on from its place, and that processes share."""

    def batches_from(
        self, batch_size: int, place: Mapping[str, Any] | None, seed: int, rank: int, world: int
    ) -> Iterator[tuple[View, Mapping[str, Any]]]:
        for start in itertools.count(place["next"] if place else 0, batch_size):
            index = torch.arange(start, start + batch_size) * world + rank
            yield View(torch.stack([index.sin(), index.cos()], 1), {"instance": index}), {"next": start + batch_size}


class GoodStream(GoodPoints):
    """A stream to train on, and items to test on."""

    def items(self, split: str) -> Any:
        return Spring() if split == "train" else super().items(split)


class LosesItsPlace(GoodStream):
    """Begins anew wherever it was."""

    def items(self, split: str) -> Any:
        return _Forgetful() if split == "train" else super().items(split)


class _Forgetful(Spring):
    def batches_from(self, batch_size: int, place: Any, seed: int, rank: int, world: int) -> Any:
        return super().batches_from(batch_size, None, seed, rank, world)


class SharesNothing(GoodStream):
    """Gives every process the same."""

    def items(self, split: str) -> Any:
        return _Alike() if split == "train" else super().items(split)


class _Alike(Spring):
    def batches_from(self, batch_size: int, place: Any, seed: int, rank: int, world: int) -> Any:
        return super().batches_from(batch_size, place, seed, 0, 1)


class TwiceTheGradient:
    """The plain body, whose total leads twice as far as it should."""

    def unsupported(self, problem: Problem) -> list[str]:
        return []

    def preference(self, problem: Problem) -> float:
        return -1.0

    def __call__(self, problem: Problem) -> Outcome:
        found = Dense()(problem)
        return found._replace(total=2 * found.total - found.total.detach())


class KeepsItsAverageElsewhere:
    """SGD with momentum that no state has."""

    sparse = "no"

    def __init__(self, learning_rate: float = 0.1) -> None:
        self.learning_rate = learning_rate

    def __call__(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return _Hidden(groups, {"lr": self.learning_rate})


class _Hidden(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.held: dict[Tensor, Tensor] = getattr(self, "held", {})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.held[parameter] = 0.9 * self.held.get(parameter, torch.zeros_like(parameter)) + parameter.grad
                parameter.sub_(group["lr"] * self.held[parameter])


class CountsItsCalls:
    """A schedule that goes by how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, progress: Progress) -> float:
        self.calls += 1
        return 1 / self.calls


class Good(InfoNCE):
    """A loss that keeps all promises."""


class LooksAtMore:
    """Names the test table, and looks at the training table as well."""

    needs: ClassVar[tuple[str, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ("test",)

    def __call__(
        self, train: Embeddings | None, test: Embeddings, views: tuple[Tensor, Tensor] | None
    ) -> dict[str, float]:
        return {"shift": float(test.z.mean() - (0.0 if train is None else train.z.mean()))}
