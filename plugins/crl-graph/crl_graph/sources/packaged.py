"""Knowledge graphs that come inside the package pykeen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from crl_core.errors import CrlError

from .triples import TripleFiles


class Nations(TripleFiles):
    """14 nations, 55 relations, 1,992 triples of the years 1950 to 1965 (Rummel 1976; Kemp et al. 2006).

    Args:
        path: folder with train.txt, valid.txt and test.txt; by default that of the installed package pykeen.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path or _inside_pykeen("nations"))
        self.path = path  # as it was given: a spec names no place on this machine


class Kinships(TripleFiles):
    """104 people of the Alyawarra, 25 kinship terms, 10,686 triples (Denham 1973; Kemp et al. 2006).

    Args:
        path: folder with train.txt, valid.txt and test.txt; by default that of the installed package pykeen.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path or _inside_pykeen("kinships"))
        self.path = path  # as it was given: a spec names no place on this machine


class UMLS(TripleFiles):
    """135 biomedical concepts, 46 relations, 6,529 triples (McCray 2003).

    Args:
        path: folder with train.txt, valid.txt and test.txt; by default that of the installed package pykeen.
    """

    def __init__(self, path: str | None = None) -> None:
        super().__init__(path or _inside_pykeen("umls"))
        self.path = path  # as it was given: a spec names no place on this machine


def _inside_pykeen(name: str) -> str:
    """The folder of a data set; nothing of pykeen is imported, which takes seconds."""
    package = find_spec("pykeen")
    if package is None or package.origin is None:
        raise CrlError(
            f"the triples of {name} come with the package pykeen, which isn't installed: pip install pykeen, "
            f"or say where they are, source.path=FOLDER"
        )
    return str(Path(package.origin).parent / "datasets" / name)
