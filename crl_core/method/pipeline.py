"""A contrastive method: a sampler, branches, and contrasts between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ..contracts.parts import Embed, Encoder, Head, Keys, Loss, Progress, Reader, Sampler, Score, Source
from ..data.pairs import Pairs
from ..data.relation import Relation, same
from ..data.view import Embeddings, SameView, View, Views
from ..errors import CrlError
from ..look.diagnosis import Diagnosis, diagnosis_of
from ..look.explanation import Explanation, explanation_of
from ..registry import make
from ..registry.hooks import announce
from .asking import has_state, meet, parts_with, reschedule
from .branch import Branch
from .checks import PATIENCE, check, check_terms, warn_of_missing_steps
from .contrast import Contrast
from .freezing import FrozenModules, evaluating
from .named import NamedModules
from .objective import Losses, Penalty, Term, apart, checked_sum, components, joined, terms_on
from .passing import Pass, drifts, follow_loaded, full_precision, numbered, path_to, representation, views_of
from .places import replaced
from .sampling import Sampling

SHORT: dict[str, Any] = {"positive": same("instance") & ~same("row")}  # the default of the short form: other views


class Pipeline(nn.Module):
    """A method, made of parts; each is given as an instance, a class or a registered name.

    The general form has named branches and the contrasts between them:

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

    The short form, `Pipeline(sampler=…, encoder=…, head=…, score=…, loss=…)`, has one branch that
    reads all views and is contrasted with itself: the positives of a row are the other views of its item.

    Call `build` with a first batch before you make the optimiser; add the source if a part needs it.

    A step is: `loss` on one batch or on several micro-batches, the optimiser's step, `on_step`. New keys for memories
    wait for `on_step`, which counts one step for all micro-batches; `abandon` drops them. A loss changes nothing else
    but running statistics of normalisation, as in torch.

    Args:
        sampler: draws the views; if a run has several sources, a sampler for each by its name.
        reader: makes a batch of raw items (texts, paths, arrays): for a source whose data are a list, and for
            `encode`.
        branches, contrasts, penalties: the general form.
        encoder, head, score, loss, positive, negative, keys: the short form; see `Branch` and `Contrast`.
    """

    described: ClassVar[tuple[str, ...]] = ("sampler", "reader", "branches", "contrasts", "penalties")
    """The options that a spec has: the short form is written as the general form."""

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
        self._samplers = NamedModules({n: one for n, one in self.samplers.items() if n and isinstance(one, nn.Module)})
        if branches is None:
            if encoder is None or loss is None:
                raise CrlError("a pipeline has either branches and contrasts, or an encoder and a loss")
            branches = {"query": Branch(self.views, encoder=encoder, head=head)}
            short = {"positive": positive, "keys": keys}
            options = {name: value for name, value in short.items() if value is not None}
            contrasts = [Contrast("query", "query", score=score, loss=loss, negative=negative, **{**SHORT, **options})]
        elif any(part is not None for part in (encoder, head, score, loss, positive, negative, keys)):
            raise CrlError("with branches, give encoder, head, score, loss and keys inside branches and contrasts")
        self.branches = NamedModules(branches)
        # A ModuleList registers the parts, but its elements have no type.
        self.contrasts = cast("Sequence[Contrast]", nn.ModuleList(contrasts))
        self.penalties = cast("Sequence[Penalty]", nn.ModuleList(penalties))
        # A tensor, because torch.compile would specialise on an int; on the CPU, where reading it never synchronises.
        self._steps = torch.zeros((), dtype=torch.int64, device="cpu")
        self._since_step = 0
        self._frozen = FrozenModules()
        self.terms: frozenset[str] | None = None  # the names of the terms that run; None for all
        check(self.branches, self.every_term, self.sampling)

    @property
    def steps(self) -> int:
        """The number of training steps so far."""
        return int(self._steps)

    @steps.setter
    def steps(self, count: int) -> None:
        self._steps.fill_(count)

    @property
    def every_term(self) -> list[Term]:
        """The contrasts and the penalties, whether they run now or not."""
        return [*self.contrasts, *self.penalties]

    @property
    def samplers(self) -> Mapping[str | None, Sampler]:
        """The samplers by the names of their sources; a sampler for all sources has the name None."""
        return self.sampler if isinstance(self.sampler, dict) else {None: self.sampler}

    @property
    def views(self) -> tuple[str, ...]:
        """The names of all views that its samplers draw."""
        return self.sampling.views

    # -- from items to views -------------------------------------------------------------------

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.samplers, self.reader)

    def read(self, batch: View | Sequence[Any]) -> View:
        """A batch for the sampler: raw items go through the reader; without a reader, they are a CrlError."""
        return self.sampling.read(batch)

    def draw(self, batch: View | Sequence[Any]) -> Views:
        """The random views of a batch."""
        return self.sampling.draw(batch)

    def clean(self, batch: View | Sequence[Any]) -> Views:
        """The clean views of a batch, with nothing random; one view under all names if the sampler returns one."""
        return self.sampling.clean(batch)

    # -- what a training loop calls ------------------------------------------------------------

    def build(self, batch: View | Sequence[Any], source: Source | None = None) -> Pipeline:
        """Makes the lazy parts, on an example batch; nothing is trained. Returns itself.

        Args:
            source: the source, for parts that need to know it, such as a bank; `fit` hands it over itself.
        """
        if source is not None:
            self.meet(source)
        training = self.training
        self.eval()
        with torch.no_grad():
            views = self.draw(batch)
            embeddings = self._pass(views).through(self._computable(views), follow=True)
            for contrast in self.contrasts:
                if set(contrast.branches) <= set(embeddings):
                    contrast.build(embeddings)
        self.train(training)
        announce("crl_pipeline_built", pipeline=self)
        return self

    def meet(self, source: Source) -> None:
        """Hands the training items and their source to each part that has `on_source`."""
        meet(source, self, self.sampling)

    def embed(self, views: Views, branch: str | None = None, chunk: int | None = None) -> dict[str, Embeddings]:
        """The embeddings of all branches that can read these views; or of one branch, and those that it needs."""
        return self._pass(views, chunk).through(
            self._computable(views) if branch is None else path_to(branch, self.branches)
        )

    def loss(self, batch: View | Sequence[Any], chunk: int | None = None) -> Losses:
        """The loss of a batch of the source's items, for any training loop.

        Args:
            chunk: the number of rows that are encoded at a time, and again for the gradient: value and gradient are
                those of the whole batch, in the memory of one chunk and with a third more time.

        Raises:
            CrlError: there are no pairs, or the loss is not finite. Then all keys that wait since the last step
                are dropped.
        """
        batch, views = self._begun(batch)
        embeddings = self.embed(views, chunk=chunk)
        with full_precision(batch):
            return self._checked(self._running(embeddings, batch.source), embeddings)

    forward = loss

    def backward(self, batch: View | Sequence[Any], chunk: int | None = None) -> Losses:
        """`loss` and `backward`, one after the other for terms that share no gradient, which frees activations earlier.

        For methods with stages that train separately (Greedy InfoMax, LoCo): it needs the memory of one stage, and
        gives the gradient of the sum.
        """
        batch, views = self._begun(batch)
        passing = self._pass(views, chunk)
        parts = []
        for terms in self.components(batch.source, views):
            own = dict.fromkeys(name for term in terms for name in term.branches)
            embeddings = passing.through([before for name in own for before in path_to(name, self.branches)])
            with full_precision(batch):
                parts.append(self._checked(terms, embeddings))
            parts[-1].total.backward()
            passing.let_go(name for name in apart(terms, self.branches) if name in passing.embeddings)
        return joined(parts, passing.embeddings)

    def components(self, source: str | None, views: Views) -> list[list[Term]]:
        """The running terms, in groups that share no gradient with each other."""
        return components(self._running(dict.fromkeys(self._computable(views)), source), self.branches)

    def _begun(self, batch: View | Sequence[Any]) -> tuple[View, Views]:
        """The batch, read by the reader if it has raw items; and its views."""
        batch = self.read(batch)
        if self.training and not torch.compiler.is_compiling():
            self._since_step += 1
            if self._since_step == PATIENCE and has_state(self, self.branches, self.contrasts, self.sampling):
                warn_of_missing_steps()
        # Views, scores and losses keep full precision under autocast; only encoders and heads use it.
        with full_precision(batch):
            return batch, self.sampling.draw(batch)

    def on_step(self, progress: Progress | None = None) -> None:
        """Call it after every step of the optimiser: it moves momentum encoders, schedules and memories."""
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
        """Updates the scheduled numbers of parts that are no modules."""
        reschedule(progress, self.branches, self.sampling)

    def abandon(self) -> None:
        """Call it instead of `on_step` if a step is skipped: it drops the keys that wait."""
        self._since_step = 0
        for _, part in self.parts_with("abandon"):
            part.abandon()

    def on_epoch(self, progress: Progress, embed: Embed) -> None:
        """Call it before every epoch; `embed(branch)` returns the embeddings of all training items by a branch."""
        for _, part in self.parts_with("on_epoch"):
            part.on_epoch(progress, embed)

    def only(self, terms: Sequence[str] | None) -> None:
        """Runs only the terms with these names; all terms with None. An unknown name is a CrlError."""
        check_terms(terms or (), self.every_term)
        self.terms = None if terms is None else frozenset(terms)

    def freeze(self, places: Sequence[str]) -> None:
        """Freezes the weights at these places, in evaluation mode, and unfreezes all that it froze before."""
        self._frozen.freeze(self, places)
        self.train(self.training)

    def train(self, mode: bool = True) -> Pipeline:
        super().train(mode)
        if mode:
            self._frozen.rest()
        return self

    def parts_with(self, method: str) -> Iterator[tuple[str, Any]]:
        """The parts that have an optional method, with the names of their places."""
        return parts_with(method, self, self.sampling)

    # -- what its user calls afterwards ----------------------------------------------------------

    @torch.no_grad()
    def encode(self, batch: View | Sequence[Any], branch: str | None = None) -> Tensor:
        """The representations `[N, d]` of a batch's items: the encoder in evaluation mode, nothing random.

        Local features are averaged, without padding. For a branch that taps another, or that has several encoders, it
        returns the embeddings of the branch.

        Args:
            batch: a batch from the source, or raw items if the pipeline has a reader.
            branch: the branch whose encoder is used; by default the first one.
        """
        return self.represent(self.clean(batch), branch)

    @torch.no_grad()
    def represent(self, view: View | Views, branch: str | None = None) -> Tensor:
        """The representations `[N, d]` of a view, or of several by name, without the sampler, in evaluation mode."""
        with evaluating(self):
            return self.representation(view, branch)

    def representation(self, view: View | Views, branch: str | None = None) -> Tensor:
        """The same in the current mode, and with a gradient, to train something on it.

        Raises:
            CrlError: there is no such branch, or a view that it reads is missing.
        """
        views = SameView.fromkeys(self.views, view) if isinstance(view, View) else view
        return representation(branch or next(iter(self.branches)), self.branches, views, self.embed)

    def views_of(self, branch: str) -> tuple[str, ...]:
        """The views that a branch reads, directly or through the branches that it taps."""
        return views_of(branch, self.branches)

    def explain(self, batch: View, query: int = 0) -> Explanation:
        """The positives and negatives of query number `query` in each contrast, and why they are; trains nothing."""
        return explanation_of(self._looked_at(batch), query)

    def diagnose(self, batch: View) -> Diagnosis:
        """Whether the run is healthy, as far as one batch shows; trains nothing."""
        found = diagnosis_of(self._looked_at(batch))
        found.figures.update(drifts(self.branches))
        return found

    @torch.no_grad()
    def _looked_at(self, batch: View) -> list[tuple[Contrast, Pairs | None]]:
        """The contrasts that run on a batch, with their pairs in evaluation mode."""
        batch = self.read(batch)
        with evaluating(self):
            embeddings = self.embed(self.draw(batch))
            running = [contrast for contrast in self.contrasts if self.runs(contrast, batch.source)]
            return [(contrast, contrast.pairs(embeddings)) for contrast in running]

    def replace(self, place: str, part: Any, **options: Any) -> Pipeline:
        """A new pipeline with one part exchanged; all other parts are the same objects as in this pipeline.

        The two pipelines share their weights, so train only one of them. `build` makes new momentum copies of
        the new part.

        Args:
            place: a place in the spec, such as `"contrasts.0.loss"` or `"branches.query.head"`; or
                the kind, `"loss"`, if there is only one such part. A part that is at several places is
                exchanged at all of them, if `place` is the first one.
            part: a name, a class or an instance; None removes a head.
            options: the options of the part, if it is a name or a class.

        Raises:
            CrlError: there is no such place, or several; or the part doesn't fit there.
        """
        made = Pipeline(**replaced(self, place, part, options))
        made.steps = self.steps
        return made.train(self.training)

    def _pass(self, views: Views, chunk: int | None = None) -> Pass:
        positions = {name: i for i, name in enumerate(self.views)}
        return Pass(self.branches, numbered(views, positions, self._steps + 1), chunk)

    def _computable(self, views: Views) -> list[str]:  # the branches that can read these views
        return [name for name in self.branches if set(self.views_of(name)) <= set(views)]

    def runs(self, term: Term, source: str | None) -> bool:
        """Whether a term runs on a batch of this source."""
        asked = self.terms is None or term.name in self.terms
        return asked and (term.source is None or source is None or term.source == source)

    def _running(self, embeddings: Mapping[str, Any], source: str | None) -> list[Term]:
        """The terms that run on a batch of this source, for which these branches were computed."""
        running = [term for term in self.every_term if self.runs(term, source)]
        return terms_on(running, embeddings, source)

    def _checked(self, terms: Sequence[Term], embeddings: Mapping[str, Embeddings]) -> Losses:
        """The sum of the terms; an error drops the keys that wait."""
        try:
            return checked_sum(terms, embeddings, first=self.steps == 0)
        except CrlError:
            self.abandon()
            raise

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        follow_loaded(self.branches, state_dict, f"{prefix}branches.")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)
