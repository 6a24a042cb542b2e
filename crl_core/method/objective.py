"""The objective, which is a weighted sum of terms; and which terms share a gradient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from .. import distributed
from ..contracts.parts import Loss
from ..data.view import Embeddings
from ..errors import CrlError
from ..registry import make
from .branch import Branch
from .contrast import Contrast
from .named import NamedModules

if TYPE_CHECKING:
    from collections.abc import Hashable


class Losses(NamedTuple):
    """The objective on one batch.

    Attributes:
        total: the weighted sum, to differentiate.
        terms: each term that ran, by name, without its weight and without gradient.
        ignored: for each contrast, the number of queries without a positive, which are left out of the mean.
        embeddings: the embeddings of each branch, by name.
    """

    total: Tensor
    terms: dict[str, Tensor]
    ignored: dict[str, Tensor]
    embeddings: dict[str, Embeddings]


class Penalty(nn.Module):
    """A term on one branch's embeddings alone, such as the codebook diversity of wav2vec 2.0.

    >>> import torch
    >>> import crl_core as crl
    >>> class Length(torch.nn.Module):
    ...     takes = "embeddings"
    ...     forward = lambda self, embeddings: embeddings.z.square().sum(-1).mean()
    >>> crl.Penalty("query", Length(), weight=0.1).name
    'query-length'
    """

    def __init__(
        self,
        branch: str,
        loss: Loss | type[Loss] | str,
        *,
        weight: float = 1.0,
        name: str | None = None,
        source: str | None = None,
    ) -> None:
        super().__init__()
        self.branch, self.weight, self.source = branch, weight, source
        self.loss: Loss = make("loss", loss)
        self.name = name or f"{branch}-{type(self.loss).__name__.lower()}"
        if self.loss.takes != "embeddings":
            raise CrlError(f"a penalty's loss takes embeddings; {type(self.loss).__name__} takes {self.loss.takes}")

    @property
    def branches(self) -> tuple[str, ...]:
        """The branch that it reads."""
        return (self.branch,)

    def forward(self, embeddings: Mapping[str, Embeddings]) -> Tensor:
        return self.loss(embeddings[self.branch])


Term: TypeAlias = Contrast | Penalty


def number(value: Any) -> Any:
    """The current value of an option that may be a `Scheduled`."""
    return getattr(value, "now", value)


def terms_on(terms: Sequence[Term], embeddings: Mapping[str, Any], source: str | None) -> list[Term]:
    """The terms whose branches have been computed for a batch of this source.

    Raises:
        CrlError: there are none.
    """
    running = [term for term in terms if source is None or set(term.branches) <= set(embeddings)]
    if not running:
        names = ", ".join(term.name for term in terms)
        raise CrlError(f"none of the terms {names} runs on a batch of the source {source!r}")
    return running


def checked_sum(terms: Sequence[Term], embeddings: Mapping[str, Embeddings], first: bool) -> Losses:
    """The weighted sum of the terms.

    Args:
        first: whether this is the first step. It checks all contrasts; later steps check only contrasts of few rows.

    Raises:
        CrlError: there are no pairs, or the sum is not finite.
    """
    compiling = torch.compiler.is_compiling()
    for term in terms:
        # On several processes, all have to take part in a check, but perhaps only one of them has few rows.
        few = distributed.world_size() == 1 and len(embeddings[term.branches[0]]) <= 16
        if isinstance(term, Contrast) and not compiling and (few or first):
            term.check(embeddings)
    losses = weighted_sum(terms, embeddings)
    # Reading a number from a GPU makes the host wait, so there the training loop checks this only sometimes.
    if losses.total.device.type == "cpu" and not compiling and not losses.total.isfinite():
        raise CrlError(not_finite(losses.terms, embeddings))
    return losses


def weighted_sum(terms: Sequence[Term], embeddings: Mapping[str, Embeddings]) -> Losses:
    """The weighted sum of the terms, for these embeddings by branch."""
    total: Any = 0.0
    values: dict[str, Tensor] = {}
    ignored: dict[str, Tensor] = {}
    for term in terms:
        if isinstance(term, Contrast):
            value, ignored[term.name] = term(embeddings)
        else:
            value = term(embeddings)
        total = total + number(term.weight) * value
        values[term.name] = value.detach()
    return Losses(total, values, ignored, dict(embeddings))


def components(terms: Sequence[Term], branches: NamedModules[Branch]) -> list[list[Term]]:
    """The terms in groups, such that terms of different groups share no gradient, because of stop-gradients."""
    groups: list[tuple[set[Hashable], list[Term]]] = []
    for term in terms:
        reached = {each for name in term.branches for each in reached_by(name, branches)}
        members = [term]
        for group in [group for group in groups if group[0] & reached]:
            groups.remove(group)
            reached |= group[0]
            members = group[1] + members
        groups.append((reached, members))
    order = {id(term): i for i, term in enumerate(terms)}
    grouped = [sorted(members, key=lambda term: order[id(term)]) for _, members in groups]
    return sorted(grouped, key=lambda members: order[id(members[0])])


def reached_by(name: str, branches: NamedModules[Branch]) -> Iterator[Hashable]:
    """The branches and encoders that get a gradient from a branch's embeddings."""
    branch = branches[name]
    yield name
    if branch.tap is not None and branch.update.gradient:
        yield from reached_by(branch.tap.partition(".")[0], branches)
    elif branch.tap is None and (branch.tracks is None or branch.update.gradient):
        # Branches that share an encoder and views also share its output.
        yield id(branches[branch.tracks or name].encoder), branch.views


def not_finite(terms: Mapping[str, Tensor], embeddings: Mapping[str, Embeddings]) -> str:
    """The message for a loss that is not finite: which term, branch and instances it comes from."""
    bad = ", ".join(f"{name} = {value.item()}" for name, value in terms.items() if not value.isfinite())
    text = f"the loss is not finite: {bad or 'the sum of all terms'}."
    for name, rows in embeddings.items():
        broken = ~rows.z.detach().isfinite().flatten(1).all(1)
        if broken.any():
            which = rows.meta["instance"][broken].flatten()[:5].tolist() if "instance" in rows.meta else []
            text += f" Branch {name!r} has {int(broken.sum())} embeddings with NaN or infinity"
            text += f" (instances {', '.join(map(str, which))}, …)." if which else "."
    return text + " Look for bad data, or lower the learning rate; bfloat16 or float32 instead of float16 may help."


def apart(terms: Sequence[Term], branches: NamedModules[Branch]) -> list[str]:
    """The branches that get a gradient from these terms."""
    own = [name for term in terms for name in term.branches]
    reached = {each for name in own for each in reached_by(name, branches)}
    return [name for name in branches if reached & set(reached_by(name, branches))]


def joined(parts: Sequence[Losses], embeddings: dict[str, Embeddings]) -> Losses:
    """The losses of several groups of terms, joined, without gradient."""
    total = torch.stack([part.total.detach() for part in parts]).sum()
    values = {name: value for part in parts for name, value in part.terms.items()}
    ignored = {name: count for part in parts for name, count in part.ignored.items()}
    return Losses(total, values, ignored, embeddings)
