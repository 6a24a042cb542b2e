"""Evaluation of an encoder, next to the untrained encoder and the raw input."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

import attrs
import torch
from torch import Tensor

from ..contracts.parts import Evaluator, Source
from ..data.view import Embeddings
from ..errors import CrlError
from ..method.pipeline import Pipeline
from ..registry import make
from ..spec.assembly import assemble, describe
from .tables import RAW, Look, Seen, device_of

if TYPE_CHECKING:
    from ..items.mixed import Mixed

EVALUATORS = ("core/knn", "core/linear", "core/alignment-uniformity", "core/effective-rank")
OF = ("raw", "untrained", "trained")
TABLES = ("train", "test", "views")


@attrs.frozen
class Evaluation:
    """The figures of an evaluation, which are its results, and notes.

    Attributes:
        figures: `figures[name][split][of]`, where `of` is raw, untrained or trained.
        notes: what was left out, and which figures come from a sample.
        samples: `samples[name][split][of]`, for figures from a sample: the numbers of items from the training split
            and from the test split.
    """

    figures: dict[str, dict[str, dict[str, float]]]
    notes: list[str]
    samples: dict[str, dict[str, dict[str, dict[str, int]]]] = attrs.field(factory=dict)

    def cell(self, name: str, split: str, of: str) -> str:
        """A figure as text, with a star if it comes from a sample; a dash if there is no figure."""
        if of not in self.figures[name][split]:
            return "—"
        star = "*" if of in self.samples.get(name, {}).get(split, {}) else ""
        return f"{self.figures[name][split][of]:.4g}{star}"

    def __str__(self) -> str:
        lines = [f"{'':<26}" + "".join(f"{of:>11}" for of in OF)]
        for name, splits in self.figures.items():
            for split in splits:
                cells = "".join(f"{self.cell(name, split, of):>11}" for of in OF)
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
    chunk: int | None = None,
) -> Evaluation:
    """Evaluates the representations on all splits of the source except the first, which is for training.

    Each item is read once, for the raw input, the untrained and the trained encoder. Representations are kept in
    float32. If the raw data are large, only a sample is kept; `notes` and `samples` say so.

    Args:
        evaluators: by default those that the source names, or the general ones.
        untrained: the same pipeline with initial weights; by default it is made from the spec.
        branch: the branch whose encoder is used by evaluators of tables; by default the first.
        batch_size: the number of items that are read at a time; fewer if they are large.
        chunk: the number of rows that are encoded at a time, if they are large.
    """
    data = of_branch(make("source", source), pipeline, branch)
    names = suitable(data) if evaluators is None else evaluators
    chosen: list[Evaluator] = [make("evaluator", evaluator) for evaluator in names]
    of_pipelines = [evaluator for evaluator in chosen if takes_pipeline(evaluator)]
    of_tables = [evaluator for evaluator in chosen if evaluator not in of_pipelines]
    notes: list[str] = []
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = untrained or fresh(pipeline, data, notes)
    if len(data.splits) == 1:
        return Evaluation({}, [f"the source has one split, {data.splits[0]!r}, and nothing to test on"])
    pipelines = ({} if made is None else {"untrained": made.to(device_of(pipeline))}) | {"trained": pipeline}
    found = Evaluation({}, notes)
    if of_tables:
        look = Look(pipeline, pipelines, branch, batch_size, chunk)
        for split, of, measured in _by_tables(of_tables, look, data, notes):
            _enter(found, split, of, measured)
    for of, encoder in pipelines.items() if of_pipelines else ():
        for split, measured in _by_pipelines(of_pipelines, encoder, data):
            _enter(found, split, of, measured)
    return attrs.evolve(found, notes=list(dict.fromkeys(notes)))


def _enter(found: Evaluation, split: str, of: str, measured: _Measured) -> None:
    for name, value in measured.figures.items():
        found.figures.setdefault(name, {}).setdefault(split, {})[of] = value
        if measured.sampled:
            found.samples.setdefault(name, {}).setdefault(split, {})[of] = measured.sampled


def of_branch(source: Source, pipeline: Pipeline, branch: str | None = None) -> Source:
    """The source; for a mixture, the source that the branch reads, by default the first branch.

    Raises:
        CrlError: the branch reads none of them.
    """
    if not hasattr(source, "sources"):
        return source
    name = branch or next(iter(pipeline.branches))
    for part in source.sources:
        if part in pipeline.samplers and set(pipeline.views_of(name)) <= set(pipeline.samplers[part].views):
            return cast("Mixed", source).only(part)
    raise CrlError(f"the branch {name!r} reads none of the sources {', '.join(source.sources)}")


def suitable(source: Source) -> Sequence[str]:
    """The evaluators for a source: those that it names, or the general ones."""
    return getattr(source, "evaluators", EVALUATORS)


def takes_pipeline(evaluator: Evaluator | type[Evaluator]) -> bool:
    return getattr(evaluator, "takes", "tables") == "pipeline"


def tables_of(evaluator: Evaluator | type[Evaluator]) -> tuple[str, ...]:
    """Which of `train`, `test` and `views` an evaluator uses; by default all."""
    found: tuple[str, ...] = getattr(evaluator, "tables", TABLES)
    return found


def sample_of(evaluator: Evaluator | type[Evaluator]) -> int | None:
    """The largest number of items of a split that an evaluator takes; if there are more, it takes a sample."""
    found: int | None = getattr(evaluator, "sample", None)
    return found


def _by_tables(
    evaluators: Sequence[Evaluator], look: Look, source: Source, notes: list[str]
) -> Iterator[tuple[str, str, _Measured]]:
    """The figures of evaluators of tables: split, raw or untrained or trained, figures."""
    first, *others = source.splits
    train: Mapping[str, Seen] = {}
    if any("train" in tables_of(evaluator) for evaluator in evaluators):
        train = look.at(source.items(first), RAW["train"], 0, notes)
    samples = [sample_of(evaluator) for evaluator in evaluators if "views" in tables_of(evaluator)]
    drawn = None if None in samples else max((count for count in samples if count is not None), default=0)
    for split in others:
        test = look.at(source.items(split), RAW["test"], drawn, notes)
        for of in test:
            for evaluator in evaluators:
                seen = {"train": train.get(of), "test": test[of]}
                yield split, of, _measured(evaluator, of, split, seen, device_of(look.pipeline), notes)
        del test, seen  # before the next split is read


def _by_pipelines(
    evaluators: Sequence[Evaluator], pipeline: Pipeline, source: Source
) -> Iterator[tuple[str, _Measured]]:
    """The figures of evaluators of the pipeline, by split; the pipeline is not changed."""
    training, device = pipeline.training, device_of(pipeline)
    pipeline.eval()
    try:
        for split in source.splits[1:]:
            for evaluator in evaluators:
                with torch.random.fork_rng([device] if device.type == "cuda" else []):
                    torch.manual_seed(0)  # the same draws for untrained and trained
                    figures = evaluator(pipeline, source, split)
                yield split, _Measured(figures, {})
    finally:
        pipeline.train(training)


@attrs.frozen
class _Measured:
    """Figures, and the number of rows of each table that is a sample."""

    figures: Mapping[str, float]
    sampled: dict[str, int]


def _measured(
    evaluator: Evaluator,
    of: str,
    split: str,
    kept: Mapping[str, Seen | None],
    device: torch.device,
    notes: list[str],
) -> _Measured:
    """The figures of one evaluator of tables; none, and a note, if it needs something that is missing."""
    name, asked, nothing = type(evaluator).__name__, tables_of(evaluator), _Measured({}, {})
    seen = {table: each.sample(sample_of(evaluator)) for table, each in kept.items() if each is not None}
    used = {table: seen.get(table) for table in ("train", "test") if table in asked}
    there = {table: each for table, each in used.items() if each is not None}
    missing = [column for column in evaluator.needs if any(column not in each.table.meta for each in there.values())]
    if missing:
        notes.append(f"{name} needs the column {missing[0]!r}, which the source doesn't have")
    if missing or len(there) < len(used):
        return nothing
    tables = {table: _with_known(each.table, evaluator.needs, split, notes) for table, each in there.items()}
    if not all(map(len, tables.values())):
        return nothing
    views = seen["test"].views if "views" in asked else None
    device = _with_room(device, [table.z for table in tables.values()] + list(views or ()))
    figures = evaluator(
        _on(device, tables.get("train")),
        _on(device, tables.get("test")),
        None if views is None else (views[0].to(device), views[1].to(device)),
    )
    sampled = {table: each for table, each in there.items() if len(each.table) < each.whole}
    if sampled:
        counts = " and ".join(
            f"{len(each.table):,} of {each.whole:,} items ({'training' if table == 'train' else split})"
            for table, each in sampled.items()
        )
        notes.append(f"{name}, {of}: * is from a sample, {counts}")
    return _Measured(figures, {table: len(each.table) for table, each in sampled.items()})


def _on(device: torch.device, table: Embeddings | None) -> Embeddings | None:
    if table is None:
        return None
    return Embeddings(table.z.to(device), {name: column.to(device) for name, column in table.meta.items()})


def _with_room(device: torch.device, tables: list[Tensor]) -> torch.device:
    """The device, if it has memory for twice the tables; otherwise the CPU, where the tables are."""
    if device.type != "cuda" or 2 * sum(z.nbytes for z in tables) <= torch.cuda.mem_get_info(device)[0]:
        return device
    return torch.device("cpu")


def _with_known(table: Embeddings, columns: Sequence[str], split: str, notes: list[str]) -> Embeddings:
    """The rows whose values in these columns are known (a negative label is unknown)."""
    known = torch.ones(len(table), dtype=torch.bool)
    for name in columns:
        known &= table.meta[name] >= 0
    if known.all():
        return table
    notes.append(
        f"{int((~known).sum())} of {len(known)} items have no {' or '.join(columns)} and were left out ({split})"
    )
    return Embeddings(table.z[known], {name: column[known] for name, column in table.meta.items()})


def fresh(pipeline: Pipeline, source: Source, notes: list[str]) -> Pipeline | None:
    """The same pipeline with initial weights; None, and a note, if it can't be made."""
    try:
        made = assemble(describe(pipeline)).to(device_of(pipeline))
        made.meet(source)
        return made
    except CrlError:
        # A part has no address: take a copy, and reset all its layers.
        copied = copy.deepcopy(pipeline)
    for name, module in copied.named_modules():
        reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
        if reset is not None:
            reset()
        elif module._parameters:
            notes.append(f"no untrained figures: {name} ({type(module).__name__}) has no reset_parameters")
            return None
    return copied
