"""A contrastive method: a sampler, branches, and contrasts between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from .. import distributed
from ..contracts.parts import Embed, Encoder, Head, Keys, Loss, Progress, Reader, Sampler, Score, Source
from ..data.relation import Relation, same
from ..data.view import Embeddings, SameView, View, Views
from ..errors import CrlError, did_you_mean
from ..parts.schedules.scheduled import Scheduled
from ..registry import make
from .branch import Branch
from .contrast import Contrast
from .named import Named
from .objective import Losses, Penalty, Term, components, not_finite, reached_by, weighted_sum
from .passing import Pass, numbered

if TYPE_CHECKING:
    from ..look.diagnosis import Diagnosis
    from ..look.explanation import Explanation

OTHER_VIEWS = same("instance") & ~same("row")
_PATIENCE = 100  # training losses without a call of on_step before saying so


class Pipeline(nn.Module):
    """A method, put together from parts; each is given as an instance, a class or a registered name.

    The general form names branches and the contrasts between them:

    >>> import torch
    >>> import crl_core as crl
    >>> class Noisy:
    ...     views = ("a", "b")
    ...     clean = lambda self, batch: batch
    ...     __call__ = lambda self, batch: {view: crl.View(batch.data + torch.rand(6, 4), batch.meta) for view in "ab"}
    >>> pipeline = crl.Pipeline(
    ...     sampler=Noisy(),
    ...     branches={"query": crl.Branch("a", encoder=torch.nn.Linear(4, 8), head=crl.MLP(16)),
    ...               "key": crl.Branch("b", tracks="query", update=crl.Momentum(0.999))},
    ...     contrasts=[crl.Contrast("query", "key", score=crl.Cosine(0.07), loss=crl.InfoNCE(), keys=crl.Queue(65536))],
    ... )
    >>> batch = crl.View(torch.randn(6, 4), {"instance": torch.arange(6)})
    >>> pipeline.build(batch).encode(batch).shape, pipeline.loss(batch).terms["query-key"].shape
    (torch.Size([6, 8]), torch.Size([]))

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
        self.sampler: Any = (
            {name: make("sampler", one) for name, one in sampler.items()}
            if isinstance(sampler, Mapping)
            else make("sampler", sampler)
        )
        self.reader: Reader | None = None if reader is None else make("reader", reader)
        self._samplers = Named({n: one for n, one in self.samplers.items() if n and isinstance(one, nn.Module)})
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
        self.terms: frozenset[str] | None = None  # the names of those that run; None for all
        _check(self)

    @property
    def steps(self) -> int:
        """How many steps it has been trained."""
        return int(self._steps)

    @steps.setter
    def steps(self, count: int) -> None:
        self._steps.fill_(count)

    @property
    def samplers(self) -> Mapping[str | None, Sampler]:
        """The samplers by the names of their sources; one that serves all stands under None."""
        return self.sampler if isinstance(self.sampler, dict) else {None: self.sampler}

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
        name = batch.source or next(iter(self.samplers))  # one's own items have no source's name
        if name not in self.samplers:
            names = ", ".join(map(str, self.samplers))
            raise CrlError(f"there is no sampler for the source {name!r}; there are {names}")
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
            raise CrlError(f"a batch is a View, View(data, {{'instance': …}}), not a {what}; raw items need a `reader`")
        if not isinstance(batch, View):
            return self.reader(list(batch))
        found = self.reader(list(batch.data))
        return View(found.data, {**found.meta, **batch.meta}, batch.source)

    def draw(self, batch: View | Sequence[Any]) -> Views:
        """The random views of a batch."""
        batch = self.read(batch)
        return self.sampler_of(batch)(batch)

    def clean(self, batch: View | Sequence[Any]) -> Views:
        """Every view of a batch, with nothing random; one stands for all where the sampler gives one."""
        batch = self.read(batch)
        sampler = self.sampler_of(batch)
        found = sampler.clean(batch)
        return SameView.fromkeys(sampler.views, found) if isinstance(found, View) else found

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
            views = self.draw(batch)
            table = self._pass(views).through(self._there(views), follow=True)
            for contrast in self.contrasts:
                if set(contrast.branches) <= set(table):
                    contrast.build(table)
        self.train(training)
        from ..registry.hooks import announce

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
        return self._pass(views, chunk).through(self._there(views) if branch is None else self._path_to(branch))

    def loss(self, batch: View | Sequence[Any], chunk: int | None = None) -> Losses:
        """The objective on a batch of the source's items, for any training loop.

        Args:
            chunk: rows that are encoded at a time, and again for the gradient: value and gradient are
                those of the whole batch, with the memory of one chunk and a third more time.

        Raises:
            CrlError: the batch can't be contrasted (no negatives, a loss that is not finite). What it left to be
                settled is dropped, with that of all batches since the last step.
        """
        batch, views = self._begun(batch)
        table = self.embed(views, chunk=chunk)
        with _full_precision(batch):
            return self._checked(self._running(table, batch.source), table)

    forward = loss

    def backward(self, batch: View | Sequence[Any], chunk: int | None = None) -> Losses:
        """`loss` and its gradient in one, term by term: what terms with no gradient in common keep is freed in between.

        For methods that train one stage of a network at a time (Greedy InfoMax, LoCo): the memory of one stage, and
        the gradient of the sum.
        """
        batch, views = self._begun(batch)
        passing = self._pass(views, chunk)
        parts = []
        for terms in self.components(batch.source, views):
            own = dict.fromkeys(name for term in terms for name in term.branches)
            table = passing.through([before for name in own for before in self._path_to(name)])
            with _full_precision(batch):
                parts.append(self._checked(terms, table))
            parts[-1].total.backward()
            passing.let_go(name for name in self._apart(terms) if name in passing.table)
        total = torch.stack([part.total.detach() for part in parts]).sum()
        values = {name: value for part in parts for name, value in part.terms.items()}
        ignored = {name: count for part in parts for name, count in part.ignored.items()}
        return Losses(total, values, ignored, passing.table)

    def components(self, source: str | None, views: Views) -> list[list[Term]]:
        """The running terms in groups with no gradient in common."""
        return components(self._running(dict.fromkeys(self._there(views)), source), self.branches)

    def _apart(self, terms: Sequence[Term]) -> list[str]:
        """The branches whose gradient is that of these terms."""
        own = [name for term in terms for name in term.branches]
        reached = {each for name in own for each in reached_by(name, self.branches)}
        return [name for name in self.branches if reached & set(reached_by(name, self.branches))]

    def _begun(self, batch: View | Sequence[Any]) -> tuple[View, Views]:
        """The batch as it was read, and its views."""
        batch = self.read(batch)
        if self.training and not torch.compiler.is_compiling():
            self._notice_missing_steps()
        # Views, scores and losses keep full precision under autocast; only encoders and heads use it.
        with _full_precision(batch):
            return batch, self.sampler_of(batch)(batch)

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
        self.reschedule(progress)

    def reschedule(self, progress: Progress) -> None:
        """Moves what follows a schedule in parts that are no modules, which have no state to be saved."""
        updates = (branch.update for branch in self.branches.values())
        for part in (*self.samplers.values(), self.reader, *updates):
            for value in vars(part).values() if hasattr(part, "__dict__") and not isinstance(part, nn.Module) else ():
                if isinstance(value, Scheduled):
                    value.on_step(progress)

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
                    f"there is no term {name!r}; there are {', '.join(_names(self))}.{did_you_mean(name, _names(self))}"
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
        views = SameView.fromkeys(self.views, view) if isinstance(view, View) else view
        for wanted in self.views_of(name):
            if wanted not in views:
                raise CrlError(f"branch {name!r} reads the view {wanted!r}; there are {', '.join(views)}")
        found = self.branches[name]
        if found.tap is None and found.represents(self.branches) is not None:
            return found.representation(views, self.branches).mean()
        table = self.embed(views, name)[name]
        items = next(iter(views[self.views_of(name)[0]].meta.values()))
        return table.mean()[: items.shape[0]]  # of several views, those of the first

    def views_of(self, branch: str) -> tuple[str, ...]:
        """The views that a branch reads, itself or by what it taps."""
        return tuple(dict.fromkeys(view for name in self._path_to(branch) for view in self.branches[name].views))

    def explain(self, batch: View, query: int = 0) -> Explanation:
        """What query number `query` of each contrast is pulled to and pushed from, and why."""
        from ..look.explanation import explain

        return explain(self, batch, query)

    def diagnose(self, batch: View) -> Diagnosis:
        """Whether the run is healthy, as far as one batch can tell."""
        from ..look.diagnosis import diagnose

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

    def _pass(self, views: Views, chunk: int | None = None) -> Pass:
        positions = {name: i for i, name in enumerate(self.views)}
        return Pass(self.branches, numbered(views, positions, self._steps + 1), chunk)

    def _there(self, views: Views) -> list[str]:
        """The branches whose views are all there."""
        return [name for name in self.branches if set(self.views_of(name)) <= set(views)]

    def _path_to(self, name: str) -> list[str]:
        """The branches whose embeddings `name` reads, one after the other, and itself."""
        if name not in self.branches:
            raise CrlError(f"there is no branch {name!r}.{did_you_mean(name, self.branches)}")
        tap = self.branches[name].tap
        return [*(self._path_to(tap.partition(".")[0]) if tap else ()), name]

    def runs(self, term: Term, source: str | None) -> bool:
        """Whether a term runs now, on a batch of this source."""
        asked = self.terms is None or term.name in self.terms
        return asked and (term.source is None or source is None or term.source == source)

    def _running(self, table: Mapping[str, Any], source: str | None) -> list[Term]:
        """The terms that run on these branches of a batch of this source."""
        terms: list[Term] = [*self.contrasts, *self.penalties]
        found = [term for term in terms if self.runs(term, source)]
        found = [term for term in found if source is None or set(term.branches) <= set(table)]
        if not found:
            raise CrlError(f"none of the terms {', '.join(_names(self))} runs on a batch of the source {source!r}")
        return found

    def _checked(self, terms: Sequence[Term], table: Mapping[str, Embeddings]) -> Losses:
        """The sum of the terms; what can't be contrasted is told, and leaves nothing to be settled."""
        compiling = torch.compiler.is_compiling()
        try:
            for term in terms:
                # Of several processes, one alone may have few rows, and checking is collective.
                few = distributed.world_size() == 1 and len(table[term.branches[0]]) <= 16
                if isinstance(term, Contrast) and not compiling and (few or self.steps == 0):
                    term.check(table)
            losses = weighted_sum(terms, table)
            # Looking at a number on a GPU would make the host wait; the training loop does so now and then.
            if losses.total.device.type == "cpu" and not compiling and not losses.total.isfinite():
                raise CrlError(not_finite(losses.terms, table))
        except CrlError:
            self.abandon()
            raise
        return losses

    def _notice_missing_steps(self) -> None:
        self._since_step += 1
        if self._since_step != _PATIENCE:
            return
        copies = any(branch.copies for branch in self.branches.values())
        if copies or any(self.parts_with("on_step")) or any(contrast.memories for contrast in self.contrasts):
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


def _names(pipeline: Pipeline) -> list[str]:
    return [*(contrast.name for contrast in pipeline.contrasts), *(penalty.name for penalty in pipeline.penalties)]


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
    terms: list[Term] = [*pipeline.contrasts, *pipeline.penalties]
    for term in terms:
        for name in term.branches:
            if name not in seen:
                raise CrlError(f"the term {term.name!r} names no branch {name!r}.{did_you_mean(name, seen)}")
        if term.source is not None and pipeline.samplers.keys().isdisjoint({term.source, None}):
            there = ", ".join(map(str, pipeline.samplers))
            raise CrlError(f"the term {term.name!r} runs on {term.source!r}, which has no sampler; there are {there}")
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise CrlError(f"two terms have one name among {', '.join(names)}: give each a `name`")
