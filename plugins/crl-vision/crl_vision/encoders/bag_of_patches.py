from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crl_core import CrlError, Stored, k_means, nearest_centre


class BagOfPatches(Stored):
    """How often an image shows each of some visual words: a fixed descriptor, without trained weights.

    `[N, C, H, W]` to `[N, words]`. A word is the centre of a cluster of patches (Csurka et al. 2004), found on the
    first images; patches are normalised to mean 0 and length 1, and patches without contrast show no word. The output
    is the square roots of the counts, normalised to length 1. OASIS (Chechik et al. 2010) and its time used bags of
    local descriptors as representations.

    >>> import torch
    >>> from crl_vision.encoders.bag_of_patches import BagOfPatches
    >>> z = BagOfPatches(words=8)(torch.rand(4, 3, 16, 16))
    >>> z.shape, bool((z >= 0).all())
    (torch.Size([4, 8]), True)

    Args:
        words: how many.
        patch: height and width of a patch, in pixels; there is one at every second pixel.
        sampled: the maximum number of patches of the first images that are clustered.
    """

    def __init__(self, words: int = 256, patch: int = 6, sampled: int = 20_000) -> None:
        super().__init__()
        if words < 2 or patch < 2 or sampled < words:
            raise ValueError(
                f"words and patch are 2 or more, and sampled at least the words: not {words}, {patch}, {sampled}"
            )
        self.words, self.patch, self.sampled = words, patch, sampled
        self.dictionary: Tensor  # [words, C · patch²]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """`[N, C, H, W]` from 0 to 1, to `[N, words]`.

        Raises:
            CrlError: the images are smaller than a patch, or the first of them show too few patches.
        """
        patches, some = self._patches(images)
        if "dictionary" not in self.stored:
            self.store(dictionary=self._words(patches[some]))
        word, _ = nearest_centre(patches.flatten(0, 1), self.dictionary)
        counts = patches.new_zeros(len(images), self.words)
        counts.scatter_add_(1, word.view(some.shape), some.to(counts.dtype))
        return F.normalize(counts.sqrt(), dim=1)

    def _patches(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`[N, L, C · patch²]` with mean 0 and length 1, and which of them have contrast."""
        if min(images.shape[-2:]) < self.patch:
            raise CrlError(f"images of {list(images.shape[-2:])} pixels hold no patch of {self.patch}")
        patches = F.unfold(images, self.patch, stride=2).transpose(1, 2)
        patches = patches - patches.mean(-1, keepdim=True)
        return F.normalize(patches, dim=-1), patches.norm(dim=-1) > 0.1

    def _words(self, patches: Tensor) -> Tensor:
        if len(patches) < self.words:
            raise CrlError(
                f"the first images show {len(patches)} patches with contrast, too few for {self.words} words: "
                f"take a larger batch, or fewer words"
            )
        centres, _ = k_means(patches[:: -(-len(patches) // self.sampled)], self.words)
        return centres
