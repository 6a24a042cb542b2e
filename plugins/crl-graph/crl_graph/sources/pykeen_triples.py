from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from crl_core import CrlError, did_you_mean

from .triples import TripleFiles

_Name = Literal["umls", "kinships", "nations"]


class PykeenTriples(TripleFiles):
    """A small knowledge graph that comes inside the package pykeen.

    >>> import crl_core as crl
    >>> from crl_graph.sources.pykeen_triples import PykeenTriples
    >>> try:
    ...     PykeenTriples("nation")
    ... except crl.CrlError as error:
    ...     print(error)
    no triples 'nation'; there are umls, kinships, nations. Did you mean 'nations'?

    Args:
        dataset: "umls", 135 biomedical concepts, 46 relations, 6,529 triples (McCray 2003); "kinships", 104 people of
            the Alyawarra, 25 kinship terms, 10,686 triples (Denham 1973; Kemp et al. 2006); or "nations", 14 of them,
            55 relations, 1,992 triples of the years 1950 to 1965 (Rummel 1976; Kemp et al. 2006).

    Raises:
        CrlError: there is no such data set, or pykeen is not installed.
    """

    def __init__(self, dataset: _Name = "umls") -> None:
        names = get_args(_Name)
        if dataset not in names:
            raise CrlError(f"no triples {dataset!r}; there are {', '.join(names)}.{did_you_mean(dataset, names)}")
        self.dataset = dataset
        # Nothing of pykeen is imported, which would take seconds.
        package = find_spec("pykeen")
        if package is None or package.origin is None:
            raise CrlError(
                f"the triples of {dataset} come with the package pykeen, which isn't installed: pip install pykeen, "
                f"or read files of your own: source=graph/triples"
            )
        super().__init__(str(Path(package.origin).parent / "datasets" / dataset))
