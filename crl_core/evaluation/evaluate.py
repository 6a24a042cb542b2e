"""What an encoder has learned: each figure beside that of the untrained encoder and of the raw input."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import attrs
import torch
from torch import Tensor, nn

from ..assembly import assemble, describe
from ..engine.loading import some_of
from ..errors import CrlError
from ..pipeline import Pipeline
from ..protocols import Embeddings, Evaluator, Items, Source, Stream, View, Views
from ..registry import make

if TYPE_CHECKING:
    from ..items.mixed import Mixed

EVALUATORS = ("core/knn", "core/linear", "core/alignment-uniformity", "core/effective-rank")
OF = ("raw", "untrained", "trained")


class NoTable(CrlError):
    """Data that are no table of numbers, which an encoder may take all the same."""


@attrs.frozen
class Evaluation:
    """Figures as `figures[name][split][raw, untrained or trained]`, and what could not be measured."""

    figures: dict[str, dict[str, dict[str, float]]]
    notes: list[str]

    def __str__(self) -> str:
        lines = [f"{'':<26}" + "".join(f"{of:>11}" for of in OF)]
        for name, splits in self.figures.items():
            for split, values in splits.items():
                cells = "".join(f"{values[of]:>11.4g}" if of in values else f"{'—':>11}" for of in OF)
                lines.append(f"{name + ', ' + split:<26}{cells}")
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


@torch.no_grad()
def evaluate(
    pipeline: Pipeline,
    source: Source | type[Source] | str,
    *,
    evaluators: Sequence[Evaluator | type[Evaluator] | str] | None = None,
    untrained: Pipeline | None = None,
    branch: str | None = None,
    batch_size: int = 512,
) -> Evaluation:
    """Measures the representations of every split of the source but the first, which is for training.

    Args:
        evaluators: by default those that the source names, or else the general ones.
        untrained: the same pipeline with fresh weights; by default it is made from the spec.
        branch: whose encoder, for evaluators of tables; the first branch's by default.
    """
    data = of_branch(make("source", source), pipeline, branch)
    names = suitable(data) if evaluators is None else evaluators
    chosen: list[Evaluator] = [make("evaluator", evaluator) for evaluator in names]
    of_pipelines = [evaluator for evaluator in chosen if takes_pipeline(evaluator)]
    of_tables = [evaluator for evaluator in chosen if evaluator not in of_pipelines]
    notes: list[str] = []
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        pipelines = {"untrained": untrained or fresh(pipeline, data, notes), "trained": pipeline}
    if len(data.splits) == 1:
        return Evaluation({}, [f"the source has one split, {data.splits[0]!r}, and nothing to test on"])
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for of in OF:
        encoder = pipelines.get(of)
        if encoder is None and of != "raw":
            continue
        look = _Look(pipeline, encoder, branch, batch_size)
        for split, name, value in (
            *(_by_tables(of_tables, look, data, notes) if of_tables else ()),
            *(_by_pipelines(of_pipelines, encoder, data) if encoder is not None else ()),
        ):
            figures.setdefault(name, {}).setdefault(split, {})[of] = value
    return Evaluation(figures, list(dict.fromkeys(notes)))


def of_branch(source: Source, pipeline: Pipeline, branch: str | None = None) -> Source:
    """The source; of a mixture, the one that the branch reads, the first branch by default.

    Raises:
        CrlError: there is none.
    """
    if not hasattr(source, "sources"):
        return source
    name = branch or next(iter(pipeline.branches))
    for part in source.sources:
        if part in pipeline.samplers and set(pipeline.views_of(name)) <= set(pipeline.samplers[part].views):
            return cast("Mixed", source).only(part)
    raise CrlError(f"the branch {name!r} reads none of the sources {', '.join(source.sources)}")


def suitable(source: Source) -> Sequence[str]:
    """The evaluators that suit a source's data: those that it names, or else the general ones."""
    return getattr(source, "evaluators", EVALUATORS)


def takes_pipeline(evaluator: Evaluator | type[Evaluator]) -> bool:
    return getattr(evaluator, "takes", "tables") == "pipeline"


def _by_tables(
    evaluators: Sequence[Evaluator], look: _Look, source: Source, notes: list[str]
) -> Iterator[tuple[str, str, float]]:
    """Split, name and value of what tables of representations show."""
    first, *others = source.splits
    try:
        train, _ = look.at(source.items(first), views=False)
    except NoTable as error:
        notes.append(f"no raw figures: {error}")
        return
    for split in others:
        test, views = look.at(source.items(split), views=True)
        for name, value in _measure(evaluators, train, test, views, split, notes):
            yield split, name, value


def _by_pipelines(
    evaluators: Sequence[Evaluator], pipeline: Pipeline, source: Source
) -> Iterator[tuple[str, str, float]]:
    """Split, name and value of what the pipeline itself shows; it is left as it was."""
    training, device = pipeline.training, device_of(pipeline)
    pipeline.eval()
    try:
        for split in source.splits[1:]:
            for evaluator in evaluators:
                with torch.random.fork_rng([device] if device.type == "cuda" else []):
                    torch.manual_seed(0)  # the same draws for untrained and trained
                    for name, value in evaluator(pipeline, source, split).items():
                        yield split, name, value
    finally:
        pipeline.train(training)


def _measure(
    evaluators: Sequence[Evaluator],
    train: Embeddings,
    test: Embeddings,
    views: tuple[Tensor, Tensor] | None,
    split: str,
    notes: list[str],
) -> Iterator[tuple[str, float]]:
    for evaluator in evaluators:
        lacking = [name for name in evaluator.needs if name not in train.meta or name not in test.meta]
        if lacking:
            notes.append(f"{type(evaluator).__name__} needs the column {lacking[0]!r}, which the source doesn't have")
            continue
        some, rest = (_with_known(table, evaluator.needs, split, notes) for table in (train, test))
        if len(some) and len(rest):
            yield from evaluator(some, rest, views).items()


def _with_known(table: Embeddings, columns: Sequence[str], split: str, notes: list[str]) -> Embeddings:
    """The rows whose columns are known (a negative label is not)."""
    known = torch.ones(len(table), dtype=torch.bool, device=table.z.device)
    for name in columns:
        known &= table.meta[name] >= 0
    if known.all():
        return table
    notes.append(
        f"{int((~known).sum())} of {len(known)} items have no {' or '.join(columns)} and were left out ({split})"
    )
    return Embeddings(table.z[known], {name: column[known] for name, column in table.meta.items()})


@attrs.frozen(eq=False)
class _Look:
    """Items through an encoder, or as they are where there is none."""

    pipeline: Pipeline
    encoder: Pipeline | None
    branch: str | None
    batch_size: int

    def at(self, items: Items, views: bool) -> tuple[Embeddings, tuple[Tensor, Tensor] | None]:
        """The table of all items, and two random views of each, if the sampler draws two."""
        tables, pairs = [], []
        two = self._two()
        device = device_of(self.pipeline)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # the same views for raw, untrained and trained
            for batch in batches(items, self.batch_size, device):
                clean = self.pipeline.clean(batch)
                tables.append(Embeddings(self._see(clean), clean[self._read[0]].meta))
                if views and len(two) == 2:
                    drawn = self.pipeline.draw(batch)
                    # With other rows than the items they are not two views of each.
                    if all(len(drawn[name]) == len(batch) for name in two):
                        pairs.append([self._see(dict.fromkeys(self._read, drawn[name])) for name in two])
        together = (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])) if pairs else None
        return Embeddings.concat(tables), together

    @property
    def _read(self) -> tuple[str, ...]:
        """The views that the branch reads."""
        return self.pipeline.views_of(self.branch or next(iter(self.pipeline.branches)))

    def _two(self) -> tuple[str, ...]:
        """Two views that the branch's encoder can read as they are: its own, or the sampler's for one encoder."""
        if len(self._read) > 1 or self.pipeline.branches[self._first].represents(self.pipeline.branches) is None:
            return self._read[:2]
        others = [view for other in self._sharing for view in self.pipeline.views_of(other)]
        return tuple(dict.fromkeys([*self._read, *others]))[:2]

    @property
    def _first(self) -> str:
        return self.branch or next(iter(self.pipeline.branches))

    @property
    def _sharing(self) -> list[str]:
        """The branches with this branch's encoder, or one that follows it."""
        branches = self.pipeline.branches
        own = branches[self._first].tracks or self._first
        return [name for name, each in branches.items() if own in (name, each.tracks)]

    def _see(self, views: Views) -> Tensor:
        if self.encoder is None:
            return raw(views[self._read[0]])
        return self.encoder.represent(views, self.branch)


def batches(items: Items | Stream, size: int, device: torch.device) -> Iterator[View]:
    """All items that can be used, in order; of a stream, the first of them.

    Raises:
        CrlError: there are none.
    """
    found = 0
    for batch in some_of(items, size):
        found += len(batch)
        yield batch.to(device)
    if not found:
        count = "the" if isinstance(items, Stream) else len(items)
        raise CrlError(f"not one of {count} items can be used; the log says what is wrong with them")


def raw(view: View) -> Tensor:
    """The data themselves as a table, `[N, d]`.

    Raises:
        NoTable: they are none.
    """
    if not isinstance(view.data, Tensor):
        raise NoTable(f"raw input of type {type(view.data).__name__} is no table of numbers")
    if view.data.dim() < 2:
        raise NoTable("raw input is one number for each item, the name of a row in a table")
    return view.data.flatten(1).float()


def device_of(module: nn.Module) -> torch.device:
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def fresh(pipeline: Pipeline, source: Source, notes: list[str]) -> Pipeline | None:
    """The same pipeline with untrained weights; None, and a note, if there is no way to make one."""
    try:
        made = assemble(describe(pipeline)).to(device_of(pipeline))
        made.meet(source)
        return made
    except CrlError:
        # A part without an address: its copy, with every layer set back.
        copied = copy.deepcopy(pipeline)
    for name, module in copied.named_modules():
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if reset is not None:
            reset()
        elif module._parameters:
            notes.append(f"no untrained figures: {name} ({type(module).__name__}) has no reset_parameters")
            return None
    return copied
