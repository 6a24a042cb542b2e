"""The plugin under test: an installed distribution, its parts, and the examples and options of its author."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

import attrs
import torch
from packaging.utils import canonicalize_name

from ..contracts.parts import Items, Sampler, Source
from ..data.view import View
from ..errors import CrlError, did_you_mean
from ..method.named import NamedModules
from ..recipes.recipe import Recipe
from ..registry import Known, known, load
from ..registry.options import signature
from .given import Examples, ExpectedFailures, Options
from .importing import Imported, import_all
from .outcome import Fails
from .trees import cut
from .workers import Worked, work

V = TypeVar("V")
ROWS = 8  # the number of rows of an example


@attrs.frozen(eq=False)
class Plugin:
    """A distribution under test."""

    distribution: str
    options: Options
    examples: Examples
    expected_failures: ExpectedFailures
    only: str | None = None

    @cached_property
    def parts(self) -> list[Known]:
        """The parts of the distribution; only those of one kind, or only one part, if `only` says so."""
        wanted = canonicalize_name(self.distribution)
        parts = [part for part in known() if canonicalize_name(part.distribution) == wanted]
        if self.only is None:
            return parts
        chosen = [part for part in parts if self.only in (part.kind, part.name, part.address)]
        if not chosen:
            names = {text for part in parts for text in (part.kind, part.name, part.address)}
            close = did_you_mean(self.only, names)
            raise CrlError(f"{self.distribution} has no kind and no part {self.only!r}.{close} Run: crl list")
        return chosen

    @cached_property
    def cases(self) -> dict[str, Case]:
        """A case for every part, by its label."""
        return {case.label: case for case in (Case(self, part) for part in self.parts)}

    @cached_property
    def imported(self) -> Mapping[str, Imported]:
        """The results of importing the parts, in one other process."""
        return import_all({label: case.part.target for label, case in self.cases.items()})

    @cached_property
    def worked(self) -> Mapping[str, Worked]:
        """The results of all parts in worker processes: one, or two if there are losses."""
        return work({label: case for label, case in self.cases.items() if self.imported[label].error is None})

    @cached_property
    def items(self) -> Any:
        """The training items of the first recipe or source that has some; or None."""
        return None if self.source is None else self.source.items(self.source.splits[0])

    @cached_property
    def source(self) -> Source | None:
        """The first source, of a recipe or of the distribution, that has items."""
        for source in [*(made.source for made in self.recipes), *self._made("source")]:
            try:
                found: Any = source.items(source.splits[0])
                found.__getitems__([0, 1])
            except Exception:  # the checks of that source report this
                continue
            given: Source = source
            return given
        return None

    @cached_property
    def samplers(self) -> list[Sampler]:
        """The samplers that can be made: those of the recipes, then those of the distribution."""
        return [*(one for made in self.recipes for one in made.pipeline.samplers.values()), *self._made("sampler")]

    @cached_property
    def recipes(self) -> list[Recipe]:
        """The recipes that can be made, after `on_source` of their parts."""
        found = []
        for made in self._made("recipe"):
            try:
                made.pipeline.meet(made.source)
            except Exception:  # the checks of that recipe report this
                continue
            found.append(made)
        return found

    def _made(self, kind: str) -> list[Any]:
        wanted = canonicalize_name(self.distribution)
        found = []
        for part in known(kind):
            if canonicalize_name(part.distribution) == wanted:
                try:
                    found.append(Case(self, part).make())
                except Exception:  # the checks of that part report this
                    continue
        return found


@attrs.frozen(eq=False)
class Case:
    """One part under test: the argument of a check."""

    plugin: Plugin
    part: Known

    @property
    def label(self) -> str:
        """A unique name within a distribution, where a head and an evaluator may have the same name."""
        return f"{self.part.kind} {self.part.address}"

    @cached_property
    def cls(self) -> Any:
        """The class, or for a recipe the function."""
        return load(self.part).part

    @cached_property
    def given(self) -> Mapping[str, Any]:
        """The options from the author; without options and an example, those of the first recipe with this part."""
        found = self._said(self.plugin.options)
        if found is not None:
            return found() if callable(found) else found
        return {} if self._said(self.plugin.examples) else self._options_in_recipes()

    def make(self, seed: int = 0) -> Any:
        """A new instance.

        Raises:
            Fails: it can't be made without options, and the author gives none.
        """
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            try:
                return self.met(self.cls(**self.given))
            except TypeError as error:
                if "required" not in str(error):
                    raise
                raise Fails(
                    f"it can't be made without options ({error}): give them defaults, or tell the kit which to use, "
                    f"conformance({self.plugin.distribution!r}, options={{{self.part.address!r}: {{…}}}})"
                ) from error

    def met(self, part: Any) -> Any:
        """The part, after its `on_source`, if it has one.

        Raises:
            Fails: there is no source.
        """
        if not hasattr(type(part), "on_source"):
            return part
        if self.source is None:
            raise Fails(
                f"it needs a source (on_source), and {self.plugin.distribution} has none. Give the kit one: "
                f"conformance({self.plugin.distribution!r}, examples={{{self.part.address!r}: make_source}}), where "
                f"make_source() returns a source for this part"
            )
        part.on_source(self.source.items(self.source.splits[0]), self.source)
        return part

    @cached_property
    def source(self) -> Source | None:
        """The source that the author gives as an example; else that of the first recipe with this part; else any."""
        example = self._example()
        if _is_source(example):
            found: Source = example
            return found
        for made in self.plugin.recipes if self.part.kind not in ("source", "recipe") else ():
            if any(type(part) is self.cls for part in _parts_of(made)):
                return made.source
        return self.plugin.source

    def raw(self, rows: Sequence[int] = range(ROWS)) -> View:
        """A batch for a sampler, with these rows."""
        example = self._example()
        if example is not None and not _is_source(example):
            return self._cut(example, rows)
        if self.source is None:
            raise self._nothing()
        items: Any = self.source.items(self.source.splits[0])
        batch: View = items.__getitems__([row % len(items) for row in rows])
        return batch

    def clean(self, rows: Sequence[int] = range(ROWS)) -> View:
        """A view for an encoder, with these rows."""
        example = self._example()
        if example is not None and not _is_source(example):
            return self._cut(example, rows)
        batch, view = self.raw(rows), self._view
        for sampler in self.plugin.samplers:
            try:
                found = sampler.clean(batch)
                if isinstance(found, View):
                    return found
                return found[view] if view is not None and view in found else next(iter(found.values()))
            except Exception:  # the checks of that sampler report this
                continue
        return batch

    @cached_property
    def _view(self) -> str | None:
        """The view that this encoder reads in the first recipe that uses it."""
        for made in self.plugin.recipes:
            for branch in made.pipeline.branches.values():
                encoders = (
                    branch.encoder.items() if isinstance(branch.encoder, NamedModules) else [("", branch.encoder)]
                )
                for view, encoder in encoders:
                    if type(encoder) is self.cls:
                        return view or branch.views[0]
        return None

    def example(self, otherwise: Callable[[], Any]) -> Any:
        """The example of the author, or else the kit's own."""
        found = self._example()
        return otherwise() if found is None else found

    def _example(self) -> Any:
        make = self._said(self.plugin.examples)
        if make is None:
            return None
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return make()

    def _said(self, table: Mapping[str, V]) -> V | None:
        return table.get(self.label, table.get(self.part.address))

    def _cut(self, example: Any, rows: Sequence[int]) -> View:
        if isinstance(example, Items):  # only the items can select rows of such data
            return example.__getitems__([row % len(example) for row in rows])
        if not isinstance(example, View) or len(example) < 4:
            what = f"{len(example)} rows" if isinstance(example, View) else f"a {type(example).__name__}"
            raise Fails(f"the example for {self.part.address} is a View of at least 4 rows, not {what}")
        found: View = cut(example, [row % len(example) for row in rows], len(example))
        return found

    def _nothing(self) -> Fails:
        return Fails(
            f"there are no data for the check: {self.plugin.distribution} has no source with items. "
            f"Give the kit an example: conformance({self.plugin.distribution!r}, "
            f"examples={{{self.part.address!r}: make_batch}}), where make_batch() returns a View of some items"
        )

    def _options_in_recipes(self) -> Mapping[str, Any]:
        if self.part.kind not in ("sampler", "encoder", "source"):
            return {}
        for made in self.plugin.recipes:
            for used in _parts_of(made):
                if type(used) is self.cls:
                    return {name: getattr(used, name) for name in signature(self.cls)}
        return {}


def _parts_of(made: Recipe) -> Iterator[Any]:
    yield made.source
    yield from made.pipeline.samplers.values()
    yield made.pipeline.reader
    yield from made.pipeline.modules()


def _is_source(example: Any) -> bool:
    return hasattr(example, "splits") and hasattr(example, "items")
