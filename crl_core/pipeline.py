"""A contrastive method: a sampler, branches, and contrasts between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

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
    Keys,
    Loss,
    Progress,
    Reader,
    Sampler,
    Score,
    Source,
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
        terms: every term that ran by name, unweighted, without gradient.
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

    def forward(self, table: Mapping[str, Embeddings]) -> Tensor:
        return self.loss(table[self.branch])


class Pipeline(nn.Module):
    """A method, put together from parts; each is given as an instance, a class or a registered name.

    The general form names branches and the contrasts between them:

        Pipeline(
            sampler=TwoViews(),
            branches={"query": Branch("a", encoder=ResNet(), head=MLP(128)),
                      "key": Branch("b", tracks="query", update=Momentum(0.999))},
            contrasts=[Contrast("query", "key", score=Cosine(0.07), loss=InfoNCE(), keys=Queue(65536))],
        )

    The short form, `Pipeline(sampler=…, encoder=…, head=…, score=…, loss=…)`, is one branch that
    reads all views, contrasted with itself: the positives of a row are the other views of its instance.

    Call `build` with a first batch, and the source if a part wants to know it, before the optimiser is made.

    A step: `loss` on one batch or on several micro-batches, the optimiser's step, `on_step`. What a loss leaves to be
    done (keys for memories) waits for `on_step`, which counts one step for all of them; `abandon` drops it. Nothing
    else changes in between but running statistics of normalisation, as in torch.

    Args:
        sampler: draws the views; where a run has several sources, one for each by its name.
        reader: makes a batch of raw items (texts, paths, arrays): of a source's whose data are a list, and of what
            `encode` is given.
        branches, contrasts, penalties: of the general form.
        encoder, head, score, loss, positive, negative, keys: of the short form; see `Branch` and `Contrast`.
    """

    described: ClassVar[tuple[str, ...]] = ("sampler", "reader", "branches", "contrasts", "penalties")
    """The options of which a spec is made: the short form has become the general one."""

    def __init__(
        self,
        sampler: Sampler | type[Sampler] | str | Mapping[str, Sampler | type[Sampler] | str],
        *,
        reader: Reader | type[Reader] | str | None = None,
        branches: Mapping[str, Branch] | None = None,
        contrasts: Sequence[Contrast] = (),
        penalties: Sequence[Penalty] = (),
        encoder: Encoder | type[Encoder] | str | None = None,
        head: Head | type[Head] | str | None = None,
        score: Score | type[Score] | str | None = None,
        loss: Loss | type[Loss] | str | None = None,
        positive: Relation | str | None = None,
        negative: Relation | str | None = None,
        keys: Keys | type[Keys] | str | Sequence[Keys | type[Keys] | str] | None = None,
    ) -> None:
        super().__init__()
        several = isinstance(sampler, Mapping)
        self.samplers: dict[str | None, Sampler] = {
            name: make("sampler", one) for name, one in (sampler.items() if several else ((None, sampler),))
        }
        self.sampler: Any = self.samplers if several else self.samplers[None]
        self.reader: Reader | None = None if reader is None else make("reader", reader)
        self._samplers = Named({str(n): s for n, s in self.samplers.items() if several and isinstance(s, nn.Module)})
        if branches is None:
            if encoder is None or loss is None:
                raise CrlError("a pipeline has either branches and contrasts, or in short an encoder and a loss")
            branches = {"query": Branch(self.views, encoder=encoder, head=head)}
            contrasts = [
                Contrast(
                    "query", "query", score=score, loss=loss, positive=OTHER_VIEWS if positive is None else positive,
                    negative=negative, keys=() if keys is None else keys,
                )
            ]  # fmt: skip
        elif any(part is not None for part in (encoder, head, score, loss, positive, negative, keys)):
            raise CrlError("branches and contrasts hold the encoder, head, score, loss and keys: give only these")
        self.branches = Named(branches)
        # torch's lists register the parts; for the type checker they hold what they hold.
        self.contrasts = cast("Sequence[Contrast]", nn.ModuleList(contrasts))
        self.penalties = cast("Sequence[Penalty]", nn.ModuleList(penalties))
        # A tensor, because torch.compile would specialise on an int; on the CPU, where reading it never synchronises.
        self._steps = torch.zeros((), dtype=torch.int64, device="cpu")
        self._since_step = 0
        object.__setattr__(self, "_frozen", [])  # no modules of its own
        self._frozen_weights: list[Tensor] = []
        self.terms: frozenset[str] | None = None
        """The names of the terms that run; None for all."""
        _check(self)

    @property
    def steps(self) -> int:
        """How many steps it has been trained."""
        return int(self._steps)

    @steps.setter
    def steps(self, count: int) -> None:
        self._steps.fill_(count)

    @property
    def views(self) -> tuple[str, ...]:
        """The names of all views that its samplers draw."""
        return tuple(dict.fromkeys(name for sampler in self.samplers.values() for name in sampler.views))

    # -- from items to views -------------------------------------------------------------------

    def sampler_of(self, batch: View) -> Sampler:
        """The sampler for the batch's source.

        Raises:
            CrlError: there is none.
        """
        if None in self.samplers:
            return self.samplers[None]
        if batch.source is None and len(self.samplers) > 1:
            return next(iter(self.samplers.values()))  # one's own items, without a name
        name = batch.source if batch.source is not None else next(iter(self.samplers))
        if name not in self.samplers:
            names = [str(each) for each in self.samplers]
            raise CrlError(
                f"there is no sampler for the source {name!r}; there are {', '.join(names)}."
                f"{did_you_mean(str(name), names)}"
            )
        return self.samplers[name]

    def read(self, batch: View | Sequence[Any]) -> View:
        """A batch as samplers take it: raw items go through the reader.

        Raises:
            CrlError: there are raw items, and no reader.
        """
        if isinstance(batch, View) and not isinstance(batch.data, (list, tuple)):
            return batch
        if self.reader is None:
            what = type(batch.data if isinstance(batch, View) else batch).__name__
            raise CrlError(
                f"a batch is a View, View(data, {{'instance': …}}), not a {what}; raw items need a `reader` in the pipeline"
            )
        if not isinstance(batch, View):
            return self.reader(list(batch))
        found = self.reader(list(batch.data))
        return View(found.data, {**batch.meta, **found.meta}, batch.source)

    def draw(self, batch: View | Sequence[Any]) -> Views:
        """The random views of a batch."""
        batch = self.read(batch)
        return self.sampler_of(batch)(batch)

    def clean(self, batch: View | Sequence[Any]) -> Views:
        """Every view of a batch, with nothing random; one stands for all where the sampler gives one."""
        batch = self.read(batch)
        sampler = self.sampler_of(batch)
        found = sampler.clean(batch)
        return dict.fromkeys(sampler.views, found) if isinstance(found, View) else found

    # -- what a training loop calls ------------------------------------------------------------

    def build(self, batch: View | Sequence[Any], source: Source | None = None) -> Pipeline:
        """Makes the lazy parts, on an example batch; nothing is trained. Returns itself.

        Args:
            source: the data, for parts that count or size something by it; `fit` hands it over by itself.
        """
        if source is not None:
            self.meet(source)
        training = self.training
        self.eval()
        with torch.no_grad():
            table = self._embed(self.draw(batch), follow=True)
            for contrast in self.contrasts:
                if set(contrast.branches) <= set(table):
                    contrast.build(table)
        self.train(training)
        from .registry.hooks import announce

        announce("crl_pipeline_built", pipeline=self)
        return self

    def meet(self, source: Source) -> None:
        """Hands every part that asks for it (`on_source`) the training items and their source."""
        parts = {"": source, **getattr(source, "sources", {})}
        for name, part in self.parts_with("on_source"):
            own = parts.get(name.removeprefix("sampler.") if None not in self.samplers else "", source)
            part.on_source(own.items(own.splits[0]), own)

    def embed(self, views: Views, branch: str | None = None, chunk: int | None = None) -> dict[str, Embeddings]:
        """The embeddings of every branch whose views are there; or of one alone, with what it depends on."""
        return self._embed(views, follow=False, only=branch, chunk=chunk)

    def loss(self, batch: View | Sequence[Any], chunk: int | None = None) -> Losses:
        """The objective on a batch of the source's items, for any training loop.

        Args:
            chunk: rows that are encoded at a time, and again for the gradient: value and gradient are
                those of the whole batch, with the memory of one chunk and a third more time.

        Raises:
            CrlError: the batch can't be contrasted (no negatives, a loss that is not finite). What it left to be
                settled is dropped, with that of all batches since the last step.
        """
        batch = self.read(batch)
        if self.training and not torch.compiler.is_compiling():
            self._notice_missing_steps()
        # Views, scores and losses keep full precision under autocast; only encoders and heads use it.
        with _full_precision(batch):
            views = self.sampler_of(batch)(batch)
        table = self.embed(views, chunk=chunk)
        try:
            with _full_precision(batch):
                return self._objective(table, batch.source)
        except CrlError:
            self.abandon()
            raise

    forward = loss

    def on_step(self, progress: Progress | None = None) -> None:
        """To be called after every step of the optimiser: moves momentum encoders, schedules, memories."""
        self._steps += 1
        progress = progress or Progress(self.steps, 0, 0, 0)
        self._since_step = 0
        for contrast in self.contrasts:
            contrast.settle()
        for branch in self.branches.values():
            if branch.tracks:
                branch.advance(self.branches[branch.tracks], progress)
        for _, part in self.parts_with("on_step"):
            part.on_step(progress)

    def abandon(self) -> None:
        """To be called instead of `on_step` where a step is given up: drops what its losses left to be settled."""
        self._since_step = 0
        for _, part in self.parts_with("abandon"):
            part.abandon()

    def on_epoch(self, progress: Progress, embed: Embed) -> None:
        """To be called before every epoch; `embed(branch)` gives the training items through a branch."""
        for _, part in self.parts_with("on_epoch"):
            part.on_epoch(progress, embed)

    def only(self, terms: Sequence[str] | None) -> None:
        """Has these terms run alone, by their names; all with None.

        Raises:
            CrlError: there is no such term.
        """
        for name in terms or ():
            if name not in _names(self):
                raise CrlError(
                    f"there is no term {name!r}; there are {', '.join(_names(self))}."
                    f"{did_you_mean(name, _names(self))}"
                )
        self.terms = None if terms is None else frozenset(terms)

    def freeze(self, places: Sequence[str]) -> None:
        """Leaves the weights at these places as they are, in evaluation mode; and trains again what was frozen so.

        Raises:
            CrlError: nothing stands at one of them.
        """
        for parameter in self._frozen_weights:
            parameter.requires_grad_(True)
        modules = dict(self.named_modules())
        for place in places:
            if place not in modules:
                raise CrlError(f"nothing to freeze at {place!r}.{did_you_mean(place, modules)}")
        self._frozen = [modules[place] for place in places]
        trained = (parameter for module in self._frozen for parameter in module.parameters())
        self._frozen_weights = [parameter for parameter in trained if parameter.requires_grad]
        for parameter in self._frozen_weights:
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Pipeline:
        super().train(mode)
        for module in self._frozen if mode else ():
            module.eval()
        return self

    def parts_with(self, method: str) -> Iterator[tuple[str, Any]]:
        """The parts that have an optional method, by the name of their place."""
        # By name: asking whether a part keeps a protocol takes ten times as long, and this is asked at every step.
        for name, module in self.named_modules():
            if module is not self and not name.startswith("_samplers.") and hasattr(type(module), method):
                yield name, module
        outside = {f"sampler.{name}" if name else "sampler": one for name, one in self.samplers.items()}
        for name, part in {**outside, "reader": self.reader}.items():
            if hasattr(type(part), method) and (name.startswith("sampler.") or not isinstance(part, nn.Module)):
                yield name, part

    # -- what its user calls afterwards ----------------------------------------------------------

    @torch.no_grad()
    def encode(self, batch: View | Sequence[Any], branch: str | None = None) -> Tensor:
        """The representations `[N, d]` of a batch's items: the encoder in evaluation mode, nothing random.

        Local features are averaged, without padding. Of a branch that taps another, or that has several encoders, it
        is what the branch makes of them.

        Args:
            batch: a view as the source gives it, or raw items, where the pipeline has a reader.
            branch: whose encoder; the first branch's by default.
        """
        return self.represent(self.clean(batch), branch)

    @torch.no_grad()
    def represent(self, view: View | Views, branch: str | None = None) -> Tensor:
        """The representations `[N, d]` of a view, or of several by name, as they are, in evaluation mode."""
        training = self.training
        self.eval()
        try:
            return self.representation(view, branch)
        finally:
            self.train(training)

    def representation(self, view: View | Views, branch: str | None = None) -> Tensor:
        """The same in whatever mode the pipeline is, with a gradient: to train something on it.

        Raises:
            CrlError: there is no such branch, or a view that it reads is missing.
        """
        name = branch or next(iter(self.branches))
        if name not in self.branches:
            raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, self.branches)}")
        views = dict.fromkeys(self.views, view) if isinstance(view, View) else view
        for wanted in self.views_of(name):
            if wanted not in views:
                raise CrlError(f"branch {name!r} reads the view {wanted!r}; there are {', '.join(views)}")
        found = self.branches[name]
        if found.tap is None and found.represents(self.branches) is not None:
            return found.representation(views, self.branches).mean()
        table = self.embed(views, name)[name]
        first = views[self.views_of(name)[0]]
        return table.mean()[: len(first)]

    def views_of(self, branch: str) -> tuple[str, ...]:
        """The views that a branch reads, itself or by what it taps."""
        return tuple(dict.fromkeys(view for name in self._path_to(branch) for view in self.branches[name].views))

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
        numbered = {name: _with_columns(view, self._position(name), self._steps + 1) for name, view in views.items()}
        wanted = self._path_to(only) if only is not None else self._there(views)
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

    def _there(self, views: Views) -> list[str]:
        """The branches whose views are all there."""
        return [name for name in self.branches if set(self.views_of(name)) <= set(views)]

    def _path_to(self, name: str) -> list[str]:
        """The branches whose embeddings `name` reads, one after the other, and itself."""
        if name not in self.branches:
            raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, self.branches)}")
        tap = self.branches[name].tap
        return [*(self._path_to(tap.partition(".")[0]) if tap else ()), name]

    def _position(self, view: str) -> int:
        return self.views.index(view) if view in self.views else -1

    def runs(self, term: Contrast | Penalty, source: str | None) -> bool:
        """Whether a term runs now, on a batch of this source."""
        asked = self.terms is None or term.name in self.terms
        return asked and (term.source is None or source is None or term.source == source)

    def _objective(self, table: dict[str, Embeddings], source: str | None) -> Losses:
        total: Tensor | float = 0.0
        terms: dict[str, Tensor] = {}
        ignored: dict[str, Tensor] = {}
        running = [term for term in (*self.contrasts, *self.penalties) if self.runs(term, source)]
        running = [term for term in running if set(term.branches) <= set(table) or source is None]
        if not running:
            raise CrlError(f"none of the terms {', '.join(_names(self))} runs on a batch of the source {source!r}")
        for contrast in (term for term in running if isinstance(term, Contrast)):
            # Of several processes, one alone may have few rows, and checking is collective.
            few = distributed.world_size() == 1 and len(table[contrast.branches[0]]) <= 16
            if not torch.compiler.is_compiling() and (few or self.steps == 0):
                contrast.check(table)
            term = contrast(table)
            total = total + number(contrast.weight) * term.value
            terms[contrast.name], ignored[contrast.name] = term.value.detach(), term.ignored
        for penalty in (term for term in running if isinstance(term, Penalty)):
            value = penalty(table)
            total = total + number(penalty.weight) * value
            terms[penalty.name] = value.detach()
        assert isinstance(total, Tensor)
        # Looking at a number on a GPU would make the host wait; the training loop does so now and then.
        if total.device.type == "cpu" and not torch.compiler.is_compiling() and not total.isfinite():
            raise CrlError(not_finite(terms, table))
        return Losses(total, terms, ignored, table)

    def _notice_missing_steps(self) -> None:
        self._since_step += 1
        if self._since_step != _PATIENCE:
            return
        moving = any(branch.copies for branch in self.branches.values())
        if moving or any(self.parts_with("on_step")) or any(contrast.memories for contrast in self.contrasts):
            warnings.warn(
                f"{_PATIENCE} training losses without pipeline.on_step(): momentum encoders, memories and schedules "
                f"stand still. "
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
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)


def number(value: Any) -> Any:
    """An option that may follow a schedule, as it is now."""
    return getattr(value, "now", value)


def _names(pipeline: Pipeline) -> list[str]:
    return [term.name for term in (*pipeline.contrasts, *pipeline.penalties)]


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


def _with_columns(view: View, position: int, step: Tensor) -> View:
    """The view with the columns that every row has.

    Raises:
        CrlError: it has no columns at all.
    """
    if not view.meta:
        raise CrlError("a view has at least the column `instance`: View(data, {'instance': torch.arange(len(data))})")
    device = next(iter(view.meta.values())).device
    # Added, a number on the CPU goes along with the step, where moved to a GPU it would be waited for.
    columns = {
        "view": torch.full((len(view),), position, device=device),
        "batch": torch.zeros(len(view), dtype=torch.int64, device=device) + step,
    }
    return View(view.data, {**columns, **view.meta}, view.source)


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
            if view not in pipeline.views:
                raise CrlError(
                    f"branch {name!r} reads the view {view!r}; the sampler draws "
                    f"{', '.join(pipeline.views)}.{did_you_mean(view, pipeline.views)}"
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
    for term in terms:
        if term.source is not None and term.source not in pipeline.samplers and None not in pipeline.samplers:
            there = [str(name) for name in pipeline.samplers]
            raise CrlError(
                f"the term {term.name!r} runs on the source {term.source!r}, which has no sampler; there are "
                f"{', '.join(there)}.{did_you_mean(term.source, there)}"
            )
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise CrlError(f"two terms have one name among {', '.join(names)}: give each a `name`")
