from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import torch

from crl_core import CrlError

from ..adjacency import Adjacency
from ..network import Network


class EdgeList(Network):
    r"""A graph in a file: two nodes by name on every line, and a weight if `weighted`.

    Separated by spaces, tabs or commas; lines that begin with # are left out. An edge that is listed twice
    counts once, with the sum of its weights.

    >>> import os, tempfile
    >>> from crl_graph.sources.edge_list import EdgeList
    >>> path = os.path.join(tempfile.mkdtemp(), "edges.txt")
    >>> with open(path, "w") as file:
    ...     _ = file.write("anna ben\nben carl\n")
    >>> graph = EdgeList(path)
    >>> graph.names, graph.adjacency.degree
    (('anna', 'ben', 'carl'), tensor([1, 2, 1]))

    Args:
        path: of the file.
        weighted: the third column is a number above 0; otherwise it isn't read.
        directed: walks follow edges only from the first node to the second.
        labels: a second file, with a node and its label on every line; other nodes have none (-1).

    Raises:
        CrlError: the file is missing, a line is no edge, or a label is of a node that the graph doesn't have.
    """

    def __init__(self, path: str, weighted: bool = False, directed: bool = False, labels: str | None = None) -> None:
        self.path, self.weighted, self.directed, self.labels = path, weighted, directed, labels
        number: dict[str, int] = {}
        ends, weights = array("q"), array("d")
        for line, columns in _lines(path, 3 if weighted else 2):
            for name in columns[:2]:
                ends.append(number.setdefault(name, len(number)))
            if weighted:
                try:
                    weights.append(float(columns[2]))
                except ValueError:
                    raise CrlError(f"{path}, line {line}: the weight {columns[2]!r} is no number") from None
        if not number:
            raise CrlError(f"{path} has no edges")
        edges = torch.tensor(ends, dtype=torch.int64).view(-1, 2).T
        weight = torch.tensor(weights, dtype=torch.float64) if weighted else None
        label = None
        if labels is not None:
            classes: dict[str, int] = {}
            label = torch.full((len(number),), -1)
            for line, (name, kind, *_) in _lines(labels, 2):
                if name not in number:
                    raise CrlError(f"{labels}, line {line}: the graph has no node {name!r}")
                label[number[name]] = classes.setdefault(kind, len(classes))
        super().__init__(Adjacency.of(edges, len(number), weight, directed), tuple(number), label)


def _lines(path: str, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Number and columns of every line."""
    if not Path(path).is_file():
        raise CrlError(f"there is no file {path}")
    with open(path, encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, 1):
                found = line.replace(",", " ").split()
                if not found or found[0].startswith("#"):
                    continue
                if len(found) < columns:
                    raise CrlError(f"{path}, line {number}: expected {columns} columns, not {line.strip()!r}")
                yield number, found
        except UnicodeDecodeError as error:
            raise CrlError(f"{path} is no text: {error}") from None
