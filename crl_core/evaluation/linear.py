from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..protocols import Embeddings


class LinearProbe:
    """The share of test items that a linear classifier on the frozen representations gets right.

    Logistic regression on standardised features, by scikit-learn.

    Args:
        strength: inverse of the regularisation, scikit-learn's C.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        probe = make_pipeline(StandardScaler(), LogisticRegression(C=self.strength, max_iter=1000))
        probe.fit(_array(train.z), _array(train.meta["label"]))
        return {"linear": float(probe.score(_array(test.z), _array(test.meta["label"])))}


def _array(tensor: Tensor) -> object:
    return tensor.cpu().numpy()
