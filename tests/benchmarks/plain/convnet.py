"""ConvNet-D3 (Gidaris & Komodakis, CVPR 2018) as a module."""

from torch import Tensor, nn


class ConvNet(nn.Module):
    """Three blocks of conv3x3 - instance norm - ReLU - average pooling, then a linear layer; 28 pixels padded to 32."""

    def __init__(self, channels: int, classes: int, *, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [
                nn.Conv2d(channels if i == 0 else width, width, kernel_size=3, padding=3 if i == 0 else 1),
                nn.GroupNorm(width, width),
                nn.ReLU(inplace=True),
                nn.AvgPool2d(2),
            ]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))
