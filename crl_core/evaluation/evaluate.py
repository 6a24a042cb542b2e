"""What an encoder has learned: each figure beside that of the untrained encoder and of the raw input."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import attrs
import torch
from torch import Tensor, nn

from ..contracts.parts import Evaluator, Items, Source, Stream
from ..data.view import Embeddings, View, Views
from ..engine.loading import some_of
from ..errors import CrlError
from ..method.pipeline import Pipeline
from ..registry import make
from ..spec.assembly import assemble, describe

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
    evaluators: Sequence[Evaluator], look: Look, source: Source, notes: list[str]
) -> Iterator[tuple[str, str, _Measured]]:
    """Split, way of seeing and figures of what tables of representations show."""
    first, *others = source.splits
    train: Mapping[str, Seen] = {}
    if any("train" in tables_of(evaluator) for evaluator in evaluators):
        train = look.at(source.items(first), RAW["train"], 0, notes)
    samples = [sample_of(evaluator) for evaluator in evaluators if "views" in tables_of(evaluator)]
    drawn = None if None in samples else max((count for count in samples if count is not None), default=0)
    for split in others:
        test = look.at(source.items(split), RAW["test"], drawn, notes)
        for of, seen in test.items():
            for evaluator in evaluators:
                inputs = _Inputs(evaluator, of, split, train.get(of), seen)
                yield split, of, inputs.measure(device_of(look.pipeline), notes)


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


@attrs.frozen
class _Measured:
    """Figures, and how many rows of each table they are of, where that is a sample."""

    figures: Mapping[str, float]
    sampled: dict[str, int]


@attrs.frozen(eq=False)
class _Inputs:
    """What an evaluator of tables is asked of."""

    evaluator: Evaluator
    of: str
    split: str
    train: Seen | None
    test: Seen

    def measure(self, device: torch.device, notes: list[str]) -> _Measured:
        asked, count = tables_of(self.evaluator), sample_of(self.evaluator)
        there = {"train": self.train, "test": self.test}
        seen = {name: each.sample(count) for name, each in there.items() if each is not None and name in asked}
        missing = [name for name in self.evaluator.needs if any(name not in each.table.meta for each in seen.values())]
        if missing:
            self._note(f"{self._name} needs the column {missing[0]!r}, which the source doesn't have", notes)
            return _Measured({}, {})
        tables = {name: _with_known(each.table, self.evaluator.needs, self.split, notes) for name, each in seen.items()}
        if any(not len(table) for table in tables.values()):
            return _Measured({}, {})
        views = seen["test"].views if "test" in seen and "views" in asked else None
        views = self.test.sample(count).views if "views" in asked else views
        return _Measured(
            self.evaluator(
                _on(device, tables.get("train")),
                _on(device, tables.get("test")),
                None if views is None else (_near(device, views[0]), _near(device, views[1])),
            ),
            self._sampled(seen, notes),
        )
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
