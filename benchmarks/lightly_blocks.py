"""SimCLR as lightly's documentation puts it together: its transform image by image, its head, its loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from PIL.Image import Image
from torch import Tensor, nn


def transform(size: int) -> Callable[[Image], list[Tensor]]:
    """Two views of an image, as for CIFAR-10."""
    made: Callable[[Image], list[Tensor]] = SimCLRTransform(input_size=size, cj_strength=0.5, gaussian_blur=0.0)
    return made


def step(small_stem: bool, temperature: float, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """A step of training on two batches of views: encoder, head, loss, gradient and optimiser; gives the loss.

    On CUDA in bfloat16 with the channels last.
    """
    encoder = torchvision.models.resnet18(weights=None)
    encoder.fc = nn.Identity()
    if small_stem:
        encoder.conv1, encoder.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    cuda = device.type == "cuda"
    layout = torch.channels_last if cuda else torch.contiguous_format
    model = nn.Sequential(encoder, SimCLRProjectionHead(512, 512, 128)).to(device).to(memory_format=layout)
    criterion = NTXentLoss(temperature=temperature)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)

    def run(one: Tensor, other: Tensor) -> Tensor:
        views = [view.to(device, non_blocking=True, memory_format=layout) for view in (one, other)]
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda):
            embeddings = [model(view) for view in views]
        loss: Tensor = criterion(*(z.float() for z in embeddings))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return run
