"""The report of a run: one HTML file that contains its pictures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from string import Template

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..contracts.optional import Depicts
from ..contracts.parts import Source
from ..data.view import View
from ..engine import folder
from ..engine.loading import as_items, without_broken
from ..evaluation.evaluate import OF, Evaluation, of_branch
from ..evaluation.tables import NoTable, device_of, in_chunks, raw
from ..method.pipeline import Pipeline
from ..spec import spec
from . import figures

PAGE = "report.html"
PICTURES = "figures"
_MAPPED, _FEW, _SHOWN, _NEIGHBOURS = 600, 50, 8, 6
_LOOKED_AT, _PART = 5_000, 512


def write_report(path: Path, pipeline: Pipeline, untrained: Pipeline, source: Source, evaluation: Evaluation) -> Path:
    """Writes `report.html`, and its pictures as PNG files, into a run's folder; returns the page's path."""
    (path / PICTURES).mkdir(exist_ok=True)
    source = of_branch(source, pipeline)
    untrained.to(device_of(pipeline))
    sections = []
    for name, text, figure in _pictures(path, pipeline, untrained, source, evaluation):
        picture = _png(figure)
        (path / PICTURES / f"{name}.png").write_bytes(picture)
        sections.append(f"<h2>{html.escape(name.capitalize())}</h2><p>{html.escape(text)}</p>{_inline(picture)}")
    data = spec.read(path / folder.SPEC)
    page = Template(_PAGE).substitute(
        title=html.escape(path.name),
        figures=_table(evaluation),
        notes="".join(f"<p>Note: {html.escape(note)}.</p>" for note in evaluation.notes),
        pictures="\n".join(sections),
        spec=html.escape((path / folder.SPEC).read_text()),
        versions=html.escape(", ".join(f"{k} {v}" for k, v in {**data["made_with"], **data["requires"]}.items())),
    )
    (path / PAGE).write_text(page, encoding="utf-8")
    return path / PAGE


def _pictures(
    path: Path, pipeline: Pipeline, untrained: Pipeline, source: Source, evaluation: Evaluation
) -> Iterator[tuple[str, str, Figure]]:
    """The pictures of the report: name, caption, figure."""
    yield (
        "curve",
        "The loss during training, and measures of how the embeddings are distributed on the sphere.",
        figures.curve(folder.read_metrics(path)),
    )
    shares: list[str] = [name for name in ("knn", "linear") if name in evaluation.figures]
    text = "Share of test items that are classified correctly: raw input, untrained encoder, trained encoder."
    if not shares:
        shares, text = list(evaluation.figures)[:1], "Raw input, if it can be measured, untrained, and trained encoder."
    for name in shares:
        yield name, text, figures.bars(evaluation.figures[name], name)
    split, mapped = _mapped(source)
    mapped = mapped.to(device_of(pipeline))
    seen = {}
    for of in OF:
        with suppress(NoTable):
            seen[of] = _representations(of, pipeline, untrained, mapped)
    label = mapped.meta["label"].cpu() if "label" in mapped.meta else None
    yield (
        "map",
        f"{len(mapped)} items of the split {split!r}, placed in the plane by t-SNE.",
        figures.maps(seen, label),
    )
    if isinstance(pipeline.sampling.sampler_of(mapped), Depicts):
        test = mapped
        if split != source.splits[-1]:
            test = _sample(source, source.splits[-1], _MAPPED).to(device_of(pipeline))
        yield "views", "Items, and the views that the sampler draws of them.", _views(pipeline, test)
        text = (
            f"The first picture of each row is a test item ({source.splits[-1]!r}); the others are the training items "
            f"nearest to it, of at most {_LOOKED_AT:,}: above by raw input, below by the trained encoder. Red: another "
            f"label."
        )
        yield "neighbours", text, _neighbours(pipeline, source, test)


def _mapped(source: Source) -> tuple[str, View]:
    """The last split; if it has too few items for a map, the split with the most."""
    split = source.splits[-1]
    if len(as_items(source.items(split))) < _FEW:
        split = max(source.splits, key=lambda name: len(as_items(source.items(name))))
    return split, _sample(source, split, _MAPPED)


def _sample(source: Source, split: str, count: int) -> View:
    return next(_parts(source, split, count, count))


def _parts(source: Source, split: str, count: int, size: int) -> Iterator[View]:
    """`count` items at random, the same every time, `size` at a time."""
    items = as_items(source.items(split))
    chosen = torch.randperm(len(items), generator=torch.Generator().manual_seed(0))[:count]
    for part in chosen.split(size):
        found = without_broken(items.__getitems__(part.tolist()))
        if len(found):
            yield found


@torch.no_grad()
def _representations(of: str, pipeline: Pipeline, untrained: Pipeline, batch: View) -> Tensor:
    if of == "raw":
        return raw(_item(pipeline, batch)).cpu()
    encoder = pipeline if of == "trained" else untrained
    parts = in_chunks(pipeline.clean(batch), pipeline.views_of(next(iter(pipeline.branches)))[0])
    return torch.cat([encoder.represent(part).cpu() for part in parts])


def _few(batch: View, count: int) -> View:
    return batch.take(slice(count))


def _views(pipeline: Pipeline, test: View) -> Figure:
    batch = _few(test, _SHOWN)
    depict = _depicted(pipeline, batch)
    rows = {"item": _item(pipeline, batch), **pipeline.draw(batch)}
    return figures.grid(
        [depict(view).cpu() for view in rows.values()], [name if name == "item" else f"view {name}" for name in rows]
    )


def _neighbours(pipeline: Pipeline, source: Source, test: View) -> Figure:
    query = _few(test, _SHOWN // 2)
    depict = _depicted(pipeline, test)
    rows: list[Tensor] = []
    titles: list[str] = []
    marks: list[list[bool | None]] = []
    train, found = _nearest(pipeline, source, query)
    pictures = {name: depict(_item(pipeline, batch)).cpu() for name, batch in (("query", query), ("train", train))}
    for i in range(len(query)):
        for of, index in found.items():
            rows.append(torch.cat([pictures["query"][i : i + 1], pictures["train"][index[i]]]))
            titles.append(of)
            marks.append([None, *_same_label(query, i, train, index[i])])
    return figures.grid(rows, titles, marks)


def _nearest(pipeline: Pipeline, source: Source, query: View) -> tuple[View, dict[str, Tensor]]:
    """The training items nearest to the queries, and for each query which they are, `[n, k]`, raw and trained.

    They come from a sample of the training items, which is read in parts. Only the nearest of each part are kept.
    """
    ways = ("raw", "trained")
    asked = {of: _representations(of, pipeline, pipeline, query) for of in ways}
    best: View | None = None
    seen: dict[str, Tensor] = {}
    for part in _parts(source, source.splits[0], _LOOKED_AT, _PART):
        batch = part.to(device_of(pipeline))
        both = batch if best is None else View.join([best, batch])
        rows = {of: _representations(of, pipeline, pipeline, batch) for of in ways}
        rows = rows if best is None else {of: torch.cat([seen[of], rows[of]]) for of in ways}
        found = {of: figures.nearest(asked[of], rows[of], _NEIGHBOURS) for of in ways}
        kept, place = torch.unique(torch.stack([found[of] for of in ways]), return_inverse=True)
        best, seen = both.take(kept), {of: rows[of][kept] for of in ways}
    assert best is not None
    return best, dict(zip(ways, place, strict=True))


def _depicted(pipeline: Pipeline, batch: View) -> Callable[[View], Tensor]:
    """The function that makes pictures of views."""
    sampler = pipeline.sampling.sampler_of(batch)
    assert isinstance(sampler, Depicts)
    return sampler.depict


def _item(pipeline: Pipeline, batch: View) -> View:
    """The clean view of the items that the first branch reads."""
    return pipeline.clean(batch)[pipeline.views_of(next(iter(pipeline.branches)))[0]]


def _same_label(query: View, i: int, train: View, chosen: Tensor) -> list[bool | None]:
    if "label" not in train.meta or "label" not in query.meta:
        return [None] * len(chosen)
    return [int(train.meta["label"][j]) == int(query.meta["label"][i]) for j in chosen.tolist()]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _inline(picture: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _table(evaluation: Evaluation) -> str:
    head = "".join(f"<th>{of}</th>" for of in OF)
    body = "".join(
        f"<tr><td>{html.escape(name)}, {html.escape(split)}</td>"
        + "".join(f"<td>{evaluation.cell(name, split, of)}</td>" for of in OF)
        + "</tr>"
        for name, splits in evaluation.figures.items()
        for split in splits
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100% } table { border-collapse: collapse } th, td { padding: .2rem .8rem; text-align: right }
td:first-child { text-align: left } tr:nth-child(even), pre { background: #f4f4f4 }
pre { padding: 1rem; overflow: auto }
</style></head><body>
<h1>$title</h1>
<h2>Figures</h2>
<p>Each next to the same figure for the raw input and for the untrained encoder.</p>
$figures
$notes
$pictures
<h2>Spec</h2>
<p>$versions</p>
<pre>$spec</pre>
</body></html>
"""
