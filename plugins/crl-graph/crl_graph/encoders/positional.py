from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from crl_core import Embeddings, Encoder, Linear


class Positional(nn.Module):
    """Features that any graph has, for an encoder of graphs: positions of nodes, degrees, and which node is the ego.

    GCC (Qiu et al. 2020, section 3.2): the eigenvectors of the normalised Laplacian that vary least over the
    subgraph, a learned vector for the degree, and a mark of the ego. G graphs to `[G, size]`.

    >>> import torch
    >>> from crl_graph.encoders.gin import GIN
    >>> from crl_graph.encoders.positional import Positional
    >>> from crl_graph.samplers.subgraphs import Subgraphs
    >>> from crl_graph.sources.roles import Roles
    >>> batch = Roles(copies=16).items("train").__getitems__([0, 1, 2])
    >>> view = Subgraphs(steps=32)(batch)["a"]
    >>> Positional(GIN(size=8, depth=2), size=16, positions=4)(view.data).z.shape
    torch.Size([3, 16])

    Args:
        encoder: for graphs with these features; its rows are then mapped linearly to `size`.
        size: numbers for each graph.
        positions: eigenvectors.
        degree: numbers in the vector of a degree.
        most: all degrees from here on have the same vector.
    """

    def __init__(
        self, encoder: Encoder, size: int = 64, positions: int = 32, degree: int = 16, most: int = 512
    ) -> None:
        super().__init__()
        self.encoder, self.size, self.positions, self.degree, self.most = encoder, size, positions, degree, most
        self.map = Linear(size)
        self.degrees = nn.Embedding(most + 1, degree)

    def forward(self, graph: Data) -> Embeddings:
        """Graphs with `ego` `[N]`, `batch` and `ptr` to rows `[G, size]`."""
        count = torch.bincount(graph.edge_index[1], minlength=int(graph.num_nodes or 0)).clamp(max=self.most)
        place = eigenvectors(graph.edge_index, graph.batch, graph.ptr, self.positions).to(self.degrees.weight.dtype)
        featured = copy.copy(graph)
        featured.x = torch.cat([place, self.degrees(count), graph.ego.to(place.dtype).unsqueeze(1)], 1)
        found = cast(Embeddings, self.encoder(featured))
        return Embeddings(self.map(found.z), found.meta)


@torch.no_grad()
def eigenvectors(edges: Tensor, graph: Tensor, ptr: Tensor, count: int) -> Tensor:
    """`[N, count]`: of every graph the eigenvectors of D^-½ A D^-½ with the largest values, rows of length 1.

    They are those of the normalised Laplacian with the smallest. As in GCC's source, a graph of n nodes has n - 2
    at most, and 0 for the rest. All graphs at once, padded to the largest.
    """
    sizes = ptr.diff()
    if not len(sizes):
        return edges.new_zeros(0, count, dtype=torch.float32)
    width = int(sizes.max())
    place = torch.arange(len(graph), device=graph.device) - ptr[graph]
    dense = torch.zeros(len(sizes), width, width, dtype=torch.float64, device=graph.device)
    dense[graph[edges[0]], place[edges[0]], place[edges[1]]] = 1.0
    scale = dense.sum(2).clamp(min=1).rsqrt()
    dense = scale.unsqueeze(2) * dense * scale.unsqueeze(1)
    # What is only there to fill up gets the lowest value of all, below -1, so that it comes last.
    empty = torch.arange(width, device=graph.device) >= sizes.unsqueeze(1)
    dense.diagonal(dim1=1, dim2=2).masked_fill_(empty, -2.0)
    vectors = torch.linalg.eigh(dense)[1].flip(2)[:, :, :count]
    column = torch.arange(vectors.shape[2], device=graph.device)
    vectors = vectors * (column < (sizes - 2).unsqueeze(1)).unsqueeze(1)
    return F.pad(F.normalize(vectors[graph, place], dim=1), (0, count - vectors.shape[2])).float()
