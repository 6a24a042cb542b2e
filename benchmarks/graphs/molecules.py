"""Representations of graphs on molecules. Recipes have the preset `families`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from data import folder_of

import crl_core as crl

from .measure import Row, has, mean, pyg, row, trained


def mutag(seeds: int) -> list[Row]:
    """Ten-fold accuracy on MUTAG's 188 molecules."""
    with pyg("TUDataset", "MUTAG", _mutag()) as source:
        return _of_graphs("mutag", source, {"info-graph": 0.890, "mvgrl-graphs": 0.897, "graph-cl": 0.868}, seeds)


def bace(seeds: int) -> list[Row]:
    """Ten-fold accuracy on the 1,513 molecules of BACE: whether one stops the enzyme at 100 nanomoles; one seed."""
    return _of_graphs("bace", Molecules(), {"info-graph": None, "graph-cl": None}, 1)


def _of_graphs(name: str, source: Any, published: dict[str, float | None], seeds: int) -> list[Row]:
    """Beside the untrained encoder's accuracy, in rows of their own; CPU seconds are for an epoch. And the
    Weisfeiler-Lehman kernel's, in the same folds."""
    from crl_graph.evaluators.graph_classification import GraphClassification
    from crl_graph.evaluators.weisfeiler_lehman import WeisfeilerLehman

    rows = []
    for method, theirs in published.items():
        runs, seconds = trained(method, "families", source, seeds)
        found = [crl.evaluate(each, source, evaluators=[GraphClassification()]).figures["accuracy"] for each in runs]
        after, before = (mean([each["folds"][of] for each in found]) for of in ("trained", "untrained"))
        rows.append(row(f"{method} {name}", "accuracy", after, published=theirs, cpu=seconds))
        rows.append(row(f"{method} {name}", "accuracy, untrained", before))
    kernel = WeisfeilerLehman()(runs[0], source, "folds")["weisfeiler_lehman"]
    return [*rows, row(f"weisfeiler-lehman {name}", "accuracy", kernel)]


class Molecules:
    """Atoms and bonds of BACE's molecules, from a file of SMILES; read by rdkit."""

    splits = ("train", "folds")

    def __init__(self) -> None:
        import csv

        from crl_graph.items import Graphs
        from rdkit import Chem
        from torch.nn.functional import one_hot
        from torch_geometric.data import Data

        with _bace().open() as file:
            lines = list(csv.DictReader(file))
        molecules = [Chem.MolFromSmiles(line["smiles"]) for line in lines]
        elements = sorted({atom.GetSymbol() for molecule in molecules for atom in molecule.GetAtoms()})
        graphs = []
        for molecule in molecules:
            atoms = torch.tensor([elements.index(atom.GetSymbol()) for atom in molecule.GetAtoms()])
            bonds = torch.tensor([(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in molecule.GetBonds()]).T
            graphs.append(Data(x=one_hot(atoms, len(elements)), edge_index=torch.cat([bonds, bonds.flip(0)], 1)))
        self.graphs = Graphs(graphs, torch.tensor([int(float(line["target"]) >= 7) for line in lines]))

    def items(self, split: str) -> Any:
        return self.graphs


def _bace() -> Path:
    found = next(folder_of("molecules").rglob("*BACE.csv"))
    if not has("rdkit"):
        raise FileNotFoundError("the molecules of BACE are read by rdkit: pip install rdkit")
    return found


def _mutag() -> Path:
    return next(folder_of("mutag").rglob("MUTAG_A.txt")).parent
