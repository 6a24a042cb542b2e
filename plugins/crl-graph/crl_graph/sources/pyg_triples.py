from __future__ import annotations

import logging
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from crl_core import CrlError, did_you_mean

from ..knowledge import KnowledgeGraph

log = logging.getLogger("crl")

_Name = Literal["FB15k_237", "WordNet18", "WordNet18RR"]
_SPLITS = ("train", "val", "test")


class PyGTriples(KnowledgeGraph):
    """A knowledge graph of torch_geometric.datasets, by name; downloaded if it is missing.

    The names of entities and relations are their numbers there. Test triples with an entity or a relation that no
    training triple has are left out and counted: nothing was learned about it.

    >>> import crl_core as crl
    >>> from crl_graph.sources.pyg_triples import PyGTriples
    >>> try:
    ...     PyGTriples("FB15k")
    ... except crl.CrlError as error:
    ...     print(error)
    no knowledge graph 'FB15k'; there are FB15k_237, WordNet18, WordNet18RR. Did you mean 'FB15k_237'?

    Args:
        dataset: "FB15k_237", "WordNet18" or "WordNet18RR".
        root: folder of the data.

    Raises:
        CrlError: there is no such data set, or it is missing and can't be downloaded.
    """

    def __init__(self, dataset: _Name = "FB15k_237", root: str = "data") -> None:
        if dataset not in get_args(_Name):
            names = get_args(_Name)
            raise CrlError(
                f"no knowledge graph {dataset!r}; there are {', '.join(names)}.{did_you_mean(dataset, names)}"
            )
        self.dataset, self.root = dataset, root
        triples = self._read()
        entities, relations = torch.unique(triples["train"][:, [0, 2]]), torch.unique(triples["train"][:, 1])
        for split, (head, relation, tail) in {split: rows.T for split, rows in triples.items()}.items():
            some = torch.isin(head, entities) & torch.isin(relation, relations) & torch.isin(tail, entities)
            if not some.all():
                log.warning("%d triples of %s name what training doesn't know: left out", int((~some).sum()), split)
            columns = ((entities, head), (relations, relation), (entities, tail))
            triples[split] = torch.stack([torch.searchsorted(names, column[some]) for names, column in columns], 1)
        super().__init__([str(n) for n in entities.tolist()], [str(n) for n in relations.tolist()], triples)

    def _read(self) -> dict[str, Tensor]:
        from torch_geometric import datasets

        made: Any = getattr(datasets, self.dataset)
        try:
            if self.dataset == "FB15k_237":
                return {split: _rows(made(self.root, split=split)[0]) for split in _SPLITS}
            data = made(self.root)[0]
        except (OSError, RuntimeError, ValueError) as error:
            raise CrlError(
                f"{self.dataset} is not in the folder {self.root!r}, and could not be downloaded: {error}. "
                f"Put PyG's files there, or read files of your own: source=graph/triples"
            ) from error
        return {split: _rows(data)[data[f"{split}_mask"]] for split in _SPLITS}


def _rows(data: Any) -> Tensor:
    return torch.stack([data.edge_index[0], data.edge_type, data.edge_index[1]], dim=1)
