"""A contrastive method: a sampler, branches, and contrasts between them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from . import distributed
from .branch import Branch
from .contrast import Contrast
from .errors import CrlError, did_you_mean
from .named import Named
from .protocols import (
    Embed,
    Embeddings,
    Encoder,
    Head,
    Loss,
    Memory,
    Progress,
    Sampler,
    Score,
    View,
    Views,
)
from .registry import make
from .relation import Relation, same

if TYPE_CHECKING:
    from .diagnosis import Diagnosis
    from .explanation import Explanation

OTHER_VIEWS = same("instance") & ~same("row")
_PATIENCE = 100  # training losses without a call of on_step before saying so


class Losses(NamedTuple):
    """The objective on one batch.

    Attributes:
        total: the weighted sum, to differentiate.
        terms: every term by name, unweighted, without gradient.
        ignored: for every contrast, how many queries had no positive and so counted for nothing.
        embeddings: of every branch, to look at or to build on.
    """

    total: Tensor
    terms: dict[str, Tensor]
    ignored: dict[str, Tensor]
    embeddings: dict[str, Embeddings]


class Penalty(nn.Module):
    """A term on one branch's embeddings alone, such as the codebook diversity of wav2vec 2.0."""

    def __init__(
        self, branch: str, loss: Loss | type[Loss] | str, *, weight: float = 1.0, name: str | None = None
    ) -> None:
        super().__init__()
        self.branch, self.weight = branch, weight
        self.loss: Loss = make("loss", loss)
        self.name = name or f"{branch}-{type(self.loss).__name__.lower()}"
        if self.loss.takes != "embeddings":
            raise CrlError(f"a penalty's loss takes embeddings; {type(self.loss).__name__} takes {self.loss.takes}")

    def forward(self, table: Mapping[str, Embeddings]) -> Tensor:
        return self.loss(table[self.branch])


class Pipeline(nn.Module):
    """A method, put together from parts; each is given as an instance, a class or a registered name.

    The general form names branches and the contrasts between them:

        Pipeline(
            sampler=TwoViews(),
            branches={"query": Branch("a", encoder=ResNet(), head=MLP(128)),
                      "key": Branch("b", tracks="query", update=Momentum(0.999))},
            contrasts=[Contrast("query", "key", score=Cosine(0.07), loss=InfoNCE(), memory=Queue(65536))],
        )

    The short form, `Pipeline(sampler=…, encoder=…, head=…, score=…, loss=…)`, is one branch that
    reads all views, contrasted with itself: the positives of a row are the other views of its instance.

    Call `build` with a first batch before the optimiser is made, if any part is lazy.
    """

    def __init__(
        self,
        sampler: Sampler | type[Sampler] | str,
        *,
        branches: Mapping[str, Branch] | None = None,
        contrasts: Sequence[Contrast] = (),
        penalties: Sequence[Penalty] = (),
        encoder: Encoder | type[Encoder] | str | None = None,
        head: Head | type[Head] | str | None = None,
        score: Score | type[Score] | str | None = None,
        loss: Loss | type[Loss] | str | None = None,
        positive: Relation | str = OTHER_VIEWS,
        negative: Relation | str | None = None,
        memory: Memory | type[Memory] | str | None = None,
    ) -> None:
        super().__init__()
        self.sampler: Sampler = make("sampler", sampler)
        if branches is None:
            if encoder is None or loss is None:
                raise CrlError("a pipeline has either branches and contrasts, or in short an encoder and a loss")
            branches = {"query": Branch(self.sampler.views, encoder=encoder, head=head)}
            contrasts = [
                Contrast("query", "query", score=score, loss=loss, positive=positive, negative=negative, memory=memory)
            ]
        elif any(part is not None for part in (encoder, head, score, loss, negative, memory)):
            raise CrlError("branches and contrasts hold the encoder, head, score, loss and memory: give only these")
        self.branches = Named(branches)
        # torch's lists register the parts; for the type checker they hold what they hold.
        self.contrasts = cast("Sequence[Contrast]", nn.ModuleList(contrasts))
        self.penalties = cast("Sequence[Penalty]", nn.ModuleList(penalties))
        # A tensor, since a compiler would take a plain number for a constant; on the CPU, where it is read for nothing.
        self._number = torch.zeros((), dtype=torch.int64, device="cpu")
        self._since_step = 0
        _check(self)

    @property
    def batches(self) -> int:
        """How many training batches it has seen."""
        return int(self._number)

    @batches.setter
    def batches(self, count: int) -> None:
        self._number.fill_(count)

    # -- what a training loop calls ------------------------------------------------------------

    def build(self, batch: View) -> Pipeline:
        """Makes the lazy parts, on an example batch; nothing is trained. Returns itself."""
        training = self.training
        self.eval()
        with torch.no_grad():
            table = self._embed(self.sampler(batch), follow=True)
            for contrast in self.contrasts:
                contrast.build(table)
        self.train(training)
        from .registry.hooks import announce

        announce("crl_pipeline_built", pipeline=self)
        return self

    def embed(self, views: Views, branch: str | None = None, chunk: int | None = None) -> dict[str, Embeddings]:
        """The embeddings of every branch; or of one alone, with what it depends on."""
        return self._embed(views, follow=False, only=branch, chunk=chunk)

    def loss(self, batch: View, chunk: int | None = None) -> Losses:
        """The objective on a batch of the source's items, for any training loop.

        Args:
            chunk: rows that are encoded at a time, and again for the gradient: value and gradient are
                those of the whole batch, with the memory of one chunk and a third more time.

        Raises:
            CrlError: the batch can't be contrasted (no negatives, a loss that is not finite).
        """
        if self.training:
            self._number += 1
            if not torch.compiler.is_compiling():
                self._notice_missing_steps()
        # Views, scores and losses keep full precision under autocast; only encoders and heads use it.
        with _full_precision(batch):
            views = self.sampler(batch)
        table = self.embed(views, chunk=chunk)
        with _full_precision(batch):
            return self._objective(table)

    forward = loss

    def on_step(self, progress: Progress | None = None) -> None:
        """To be called after every step of the optimiser: moves momentum encoders, schedules, queues."""
        progress = progress or Progress(self.batches, 0, 0, 0)
        self._since_step = 0
        for contrast in self.contrasts:
            contrast.remember()
        for branch in self.branches.values():
            if branch.tracks:
                branch.advance(self.branches[branch.tracks], progress)
        for part in self._parts_with("on_step"):
            part.on_step(progress)

    def on_epoch(self, progress: Progress, embed: Embed) -> None:
        """To be called before every epoch; `embed(branch)` gives the training items through a branch."""
        for part in self._parts_with("on_epoch"):
            part.on_epoch(progress, embed)

    # -- what its user calls afterwards ----------------------------------------------------------

    @torch.no_grad()
    def encode(self, batch: View, branch: str | None = None) -> Tensor:
        """The representations `[N, d]` of a batch's items: the encoder in evaluation mode, nothing random.

        Local features are averaged. Of a branch that taps another, it is what the branch makes of them.

        Args:
            branch: whose encoder; the first branch's by default.
        """
        return self.represent(self.sampler.clean(batch), branch)

    @torch.no_grad()
    def represent(self, view: View, branch: str | None = None) -> Tensor:
        """The representations `[N, d]` of a view: the encoder in evaluation mode, the view as it is."""
        training = self.training
        self.eval()
        try:
            return self.representation(view, branch)
        finally:
            self.train(training)

    def representation(self, view: View, branch: str | None = None) -> Tensor:
        """The same in whatever mode the pipeline is, with a gradient: to train something on it."""
        name = branch or next(iter(self.branches))
        if name not in self.branches:
            raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, self.branches)}")
        found = self.branches[name]
        if found.tap is None:
            return averaged(found.representation(view.data, self.branches))
        # A branch of several views has the same rows for each.
        return averaged(self.embed(dict.fromkeys(self.sampler.views, view), name)[name].z)[: len(view)]

    def explain(self, batch: View, query: int = 0) -> Explanation:
        """What query number `query` of each contrast is pulled to and pushed from, and why."""
        from .explanation import explain

        return explain(self, batch, query)

    def diagnose(self, batch: View) -> Diagnosis:
        """Whether the run is healthy, as far as one batch can tell."""
        from .diagnosis import diagnose

        return diagnose(self, batch)

    def replace(self, place: str, part: Any, **options: Any) -> Pipeline:
        """A new pipeline with one part exchanged; all its other parts are the very ones of this pipeline.

        They share their weights, so go on with one of the two. Momentum copies of what is exchanged are
        made anew, by `build`.

        Args:
            place: in the words of the spec, such as `"contrasts.0.loss"` or `"branches.query.head"`; or
                the kind alone, `"loss"`, where there is only one such part. A part that stands at several
                places is exchanged at all of them, if `place` is the first.
            part: a name, a class or an instance; None leaves a head out.
            options: of the part, where it is a name or a class.

        Raises:
            CrlError: there is no such place, or several; or the part can't stand there.
        """
        from .places import replaced

        return replaced(self, place, part, options)

    # -- inside ------------------------------------------------------------------------------------

    def _embed(
        self, views: Views, follow: bool, only: str | None = None, chunk: int | None = None
    ) -> dict[str, Embeddings]:
        table: dict[str, Embeddings] = {}
        cache: dict[Any, Any] = {}
        row = distributed.rank() << 40  # rows of different processes never meet
        batch = self._number + (not self.training)  # what is only looked at is a batch of its own
        numbered = {name: _with_columns(view, self._position(name), batch) for name, view in views.items()}
        wanted = list(self.branches) if only is None else self._path_to(only)
        for name in wanted:
            branch = self.branches[name]
            if follow and branch.tracks:
                branch.follow(self.branches[branch.tracks])
            found = branch(numbered, self.branches, table, cache, chunk)
            shape = found.z.shape[:-1]
            rows = torch.arange(row, row + shape.numel(), device=found.z.device).view(shape)
            row += shape.numel()
            table[name] = Embeddings(found.z, {**found.meta, "row": rows}, found.features)
        return table

    def _path_to(self, name: str) -> list[str]:
        """The branches whose embeddings `name` reads, one after the other, and itself."""
        if name not in self.branches:
            raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, self.branches)}")
        tap = self.branches[name].tap
        return [*(self._path_to(tap.partition(".")[0]) if tap else ()), name]

    def _position(self, view: str) -> int:
        return self.sampler.views.index(view) if view in self.sampler.views else -1

    def _objective(self, table: dict[str, Embeddings]) -> Losses:
        total: Tensor | float = 0.0
        terms: dict[str, Tensor] = {}
        ignored: dict[str, Tensor] = {}
        for contrast in self.contrasts:
            # Of several processes, one alone may have few rows, and checking is collective.
            few = distributed.world_size() == 1 and len(table[contrast.branches[0]]) <= 16
            if not torch.compiler.is_compiling() and (few or self.batches <= 1):
                contrast.check(table)
            term = contrast(table)
            total = total + contrast.weight * term.value
            terms[contrast.name], ignored[contrast.name] = term.value.detach(), term.ignored
        for penalty in self.penalties:
            value = penalty(table)
            total = total + penalty.weight * value
            terms[penalty.name] = value.detach()
        assert isinstance(total, Tensor)
        # Looking at a number on a GPU would make the host wait; the training loop does so now and then.
        if total.device.type == "cpu" and not torch.compiler.is_compiling() and not total.isfinite():
            raise CrlError(not_finite(terms, table))
        return Losses(total, terms, ignored, table)

    def _parts_with(self, method: str) -> list[Any]:
        # By name: asking whether a part keeps a protocol takes ten times as long, and this is asked at every step.
        return [part for part in self.modules() if part is not self and hasattr(type(part), method)]

    def _notice_missing_steps(self) -> None:
        self._since_step += 1
        if self._since_step != _PATIENCE:
            return
        if self._parts_with("on_step") or any(branch.copies for branch in self.branches.values()):
            warnings.warn(
                f"{_PATIENCE} training losses without pipeline.on_step(): momentum encoders and schedules stand still. "
                f"Call it after every optimiser.step()",
                stacklevel=3,
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # Copies are made from what they follow, which may itself be made by the weights that it loads.
        for name, branch in self.branches.items():
            if branch.tracks and any(key.startswith(f"{prefix}branches.{name}.copies.") for key in state_dict):
                start = f"{prefix}branches.{branch.tracks}."
                tracked = {k.removeprefix(start): v for k, v in state_dict.items() if k.startswith(start)}
                self.branches[branch.tracks].load_state_dict(tracked)
                branch.follow(self.branches[branch.tracks])
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.batches)

    def set_extra_state(self, state: Tensor) -> None:
        self.batches = int(state)


def averaged(z: Tensor) -> Tensor:
    """`[N, d]`, the mean of local features `[N, …, d]`."""
    return z if z.dim() == 2 else z.flatten(1, -2).mean(1)


def not_finite(terms: Mapping[str, Tensor], table: Mapping[str, Embeddings]) -> str:
    """Which term, which branch and which instances a loss that is not finite comes from."""
    bad = ", ".join(f"{name} = {value.item()}" for name, value in terms.items() if not value.isfinite())
    text = f"the loss is not finite: {bad or 'the sum of all terms'}."
    for name, rows in table.items():
        broken = ~rows.z.detach().isfinite().flatten(1).all(1)
        if broken.any():
            which = rows.meta["instance"][broken].flatten()[:5].tolist() if "instance" in rows.meta else []
            text += f" Branch {name!r} has {int(broken.sum())} embeddings with NaN or infinity"
            text += f" (instances {', '.join(map(str, which))}, …)." if which else "."
    return text + " Bad data, or a learning rate that is too high; bfloat16 or float32 instead of float16 may help."


def _with_columns(view: View, position: int, batch: Tensor) -> View:
    """The view with the columns that every row has."""
    device = next(iter(view.meta.values())).device
    # Added, a number on the CPU goes along with the step, where moved to a GPU it would be waited for.
    columns = {
        "view": torch.full((len(view),), position, device=device),
        "batch": torch.zeros(len(view), dtype=torch.int64, device=device) + batch,
    }
    return View(view.data, {**columns, **view.meta})


def _full_precision(batch: View) -> torch.autocast:
    device = next((column.device.type for column in batch.meta.values()), "cpu")
    return torch.autocast(device_type=device, enabled=False)


def _check(pipeline: Pipeline) -> None:
    """Names that lead nowhere, and branches out of order."""
    seen: list[str] = []
    for name, branch in pipeline.branches.items():
        if branch.source is not None and branch.source not in seen:
            what = "tracks" if branch.tracks else "taps"
            raise CrlError(
                f"branch {name!r} {what} {branch.source!r}, which is none of the branches before it: "
                f"{', '.join(seen) or 'there are none'}.{did_you_mean(branch.source, pipeline.branches)}"
            )
        if branch.tracks and pipeline.branches[branch.tracks].encoder is None:
            raise CrlError(f"branch {name!r} tracks {branch.tracks!r}, which has no encoder of its own")
        for view in branch.views:
            if view not in pipeline.sampler.views:
                raise CrlError(
                    f"branch {name!r} reads the view {view!r}; the sampler draws "
                    f"{', '.join(pipeline.sampler.views)}.{did_you_mean(view, pipeline.sampler.views)}"
                )
        seen.append(name)
    for contrast in pipeline.contrasts:
        for name in contrast.branches:
            if name not in seen:
                raise CrlError(f"the contrast {contrast.name!r} names no branch {name!r}.{did_you_mean(name, seen)}")
    for penalty in pipeline.penalties:
        if penalty.branch not in seen:
            raise CrlError(
                f"the penalty {penalty.name!r} names no branch {penalty.branch!r}.{did_you_mean(penalty.branch, seen)}"
            )
    terms: list[Contrast | Penalty] = [*pipeline.contrasts, *pipeline.penalties]
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise CrlError(f"two terms have one name among {', '.join(names)}: give each a `name`")
