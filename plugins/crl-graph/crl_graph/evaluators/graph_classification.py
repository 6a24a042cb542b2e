from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from crl_core import CrlError, Embeddings


class GraphClassification:
    """The share of graphs that a support vector machine gets right: mean and standard deviation over the folds.

    The protocol of InfoGraph (Sun et al. 2020): the rows of all graphs of the split, not scaled; in each fold the
    machine's C is chosen from 10^-3 … 10^3 by cross-validation inside the training part. Nothing is taken from
    the training split, which holds the same graphs. With few graphs the figure is rough: with 188, as in MUTAG, scaling
    the rows or another initialisation of the encoder changes it by 0.02 to 0.04.

    >>> import torch
    >>> import crl_core as crl
    >>> from crl_graph.evaluators.graph_classification import GraphClassification
    >>> label = torch.arange(20) % 2
    >>> table = crl.Embeddings(torch.eye(2)[label], {"label": label, "instance": torch.arange(20)})
    >>> GraphClassification(folds=2)(table, table, None)
    {'accuracy': 1.0, 'accuracy_deviation': 0.0}

    Args:
        folds: how many.
        seed: of the folds.

    Raises:
        CrlError: there are fewer than 2 folds, or a label has fewer graphs than there are folds.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, folds: int = 10, seed: int = 0) -> None:
        if folds < 2:
            raise CrlError(f"there are 2 folds or more, not {folds}")
        self.folds, self.seed = folds, seed

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        order = test.meta["instance"].argsort()  # the folds are the same whatever the order
        x, label = test.z[order].double().cpu().numpy(), test.meta["label"][order].cpu().numpy()
        right = cross_validated(x, label, self.folds, self.seed)
        return {"accuracy": float(right.mean()), "accuracy_deviation": float(right.std())}


def cross_validated(x: Any, label: Any, folds: int, seed: int, kernel: str = "rbf") -> Any:
    """The share that is right in each fold, `[folds]`, of rows `[N, d]`, or of a kernel `[N, N]` that is "precomputed".

    Raises:
        CrlError: a class has fewer graphs than there are folds.
    """
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
    from sklearn.svm import SVC

    fewest = int(np.unique(label, return_counts=True)[1].min())
    if len(np.unique(label)) < 2 or fewest < folds:
        raise CrlError(
            f"{folds} folds need two labels and {folds} graphs with each: there are {len(np.unique(label))} labels, "
            f"one of them with {fewest} graphs"
        )
    strengths = [10.0**power for power in range(-3, 4)]
    search = GridSearchCV(SVC(kernel=kernel, random_state=0), {"C": strengths}, cv=StratifiedKFold(min(5, fewest)))
    return cross_val_score(search, x, label, cv=StratifiedKFold(folds, shuffle=True, random_state=seed))
