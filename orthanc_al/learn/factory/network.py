"""The factory's network: a small residual network for grey images.

He et al., Deep residual learning, CVPR 2016 (basic blocks); He et al., Bag of tricks, CVPR 2019
(model D: the shortcut averages before it thins out). The head is linear on the mean of the last
feature map, so the same head applied to each place of that map is the class activation map (Zhou et
al., CVPR 2016), and a new head can be fitted without the network.
"""

import torch
from torch import Tensor, nn

HEAD_WEIGHT = "head.weight"
HEAD_BIAS = "head.bias"


class Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features; shape (n, width, h / stride, w / stride)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def _shortcut(width_in: int, width: int, stride: int) -> nn.Module:
    if stride == 1 and width_in == width:
        return nn.Identity()
    pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
    return nn.Sequential(pool, nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width))


class Network(nn.Module):
    """Grey image to logits, embedding and feature map.

    Parameters
    ----------
    findings
        Number of logits, k.
    widths
        Channels of the four stages; the last one is the length d of the embedding.
    strides
        Of the four stages; the stem divides by 4 before.
    blocks
        Blocks of each stage.
    """

    def __init__(
        self,
        findings: int,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        strides: tuple[int, ...] = (1, 2, 2, 2),
        blocks: tuple[int, ...] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 5, 2, 2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )
        stages: list[nn.Module] = []
        width_in = widths[0]
        for width, stride, count in zip(widths, strides, blocks, strict=True):
            for index in range(count):
                stages.append(Block(width_in, width, stride if index == 0 else 1))
                width_in = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(width_in, findings)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (n, k), embedding (n, d) and feature map (n, d, h, w) of images (n, 1, s, s)."""
        feature_map = self.stages(self.stem(x))
        embedding = feature_map.mean((2, 3))
        return self.head(embedding), embedding, feature_map
