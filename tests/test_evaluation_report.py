"""The pictures of the report: a map that keeps neighbours, pictures in a grid, and what it says of samples."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import Evaluation
from crl_core.report.figures import bars, grid
from crl_core.report.page import _table
from crl_core.report.tsne import plane


def neighbours(z: Tensor, count: int = 10) -> Tensor:
    return torch.cdist(z, z).fill_diagonal_(torch.inf).topk(count, largest=False).indices


def test_the_map_keeps_neighbours_as_scikit_learns_does() -> None:
    from sklearn.manifold import TSNE, trustworthiness

    generator = torch.Generator().manual_seed(0)
    label = torch.arange(300) % 6
    z = F.normalize(torch.eye(6, 20)[label] * 4 + torch.randn(300, 20, generator=generator), dim=1)
    ours, theirs = plane(3 * z), torch.from_numpy(TSNE(perplexity=30, random_state=0).fit_transform(z.numpy()))
    found, reference = (trustworthiness(z.numpy(), each.numpy(), n_neighbors=10) for each in (ours, theirs))
    assert found > reference - 0.02
    same = label[neighbours(ours)] == label.unsqueeze(1)
    assert float(same.float().mean()) > 0.9, "a sixth is chance"
    assert torch.equal(plane(3 * z), ours), "the same every time"


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 40])
def test_any_number_of_rows_has_a_map(rows: int) -> None:
    for z in (torch.randn(rows, 5), torch.ones(rows, 5), torch.zeros(rows, 5)):
        assert plane(z).shape == (rows, 2)
        assert plane(z).isfinite().all()


def test_every_picture_of_a_grid_stands_in_its_place_with_its_mark() -> None:
    large, small = torch.full((2, 8, 8, 3), 200, dtype=torch.uint8), torch.zeros(3, 4, 4, 3, dtype=torch.uint8)
    figure = grid([large, small], ["items", "views"], [[None, True], [False, None, None]])
    (axes,) = figure.axes
    assert [image.get_extent()[0] for image in axes.images] == [0, 1, 0, 1, 2]
    assert {image.get_array().shape for image in axes.images} == {(8, 8, 3)}  # type: ignore[union-attr]
    assert [(patch.get_x(), patch.get_y()) for patch in axes.patches] == [(1, 0), (0, 1)]  # type: ignore[attr-defined]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["items", "views"]


def test_bars_of_negative_figures_are_inside(tmp_path: object) -> None:
    figure = bars({"test": {"raw": -3.5, "untrained": 0.2, "trained": 2.0}}, "uniformity")
    low, high = figure.axes[0].get_ylim()
    assert low < -3.5
    assert high > 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(f"{tmp_path}/bars.png")


def test_a_figure_of_a_sample_has_a_star_in_the_report() -> None:
    found = Evaluation({"knn": {"test": {"raw": 0.5, "trained": 0.75}}}, [], {"knn": {"test": {"raw": {"test": 12}}}})
    cells = [cell.removeprefix("<td>") for cell in _table(found).split("</td>")][1:4]
    assert cells == ["0.5*", "—", "0.75"]
