"""The networks as PyTorch modules, with PyTorch's own instance norm, encoder layers and pooling; 28-pixel images."""

import torch
from torch import nn


def mlp(channels, classes, size, width):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def vgg11(channels, classes, width):
    layers, padding = [], 3
    for item in (1, "M", 2, "M", 4, 4, "M", 8, 8, "M", 8, 8, "M"):
        if item == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        outgoing = item * width // 2
        layers += [
            nn.Conv2d(channels, outgoing, 3, padding=padding),
            nn.InstanceNorm2d(outgoing, affine=True),
            nn.ReLU(inplace=True),
        ]
        channels, padding = outgoing, 1
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    def __init__(self, incoming, outgoing, stride):
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(incoming, outgoing, 3, stride, 1, bias=False),
            nn.InstanceNorm2d(outgoing, affine=True),
            nn.ReLU(),
            nn.Conv2d(outgoing, outgoing, 3, 1, 1, bias=False),
            nn.InstanceNorm2d(outgoing, affine=True),
        )
        self.shortcut = nn.Identity()
        if stride > 1 or incoming != outgoing:
            self.shortcut = nn.Sequential(
                nn.Conv2d(incoming, outgoing, 1, stride, bias=False), nn.InstanceNorm2d(outgoing, affine=True)
            )

    def forward(self, x):
        return torch.relu(self.path(x) + self.shortcut(x))


def resnet18(channels, classes, width, *, published_stem=False):
    """With the stem for small images, or that of the paper."""
    first = width // 2
    if published_stem:
        layers = [nn.Conv2d(channels, first, 7, 2, 3, bias=False)]
    else:
        layers = [nn.Conv2d(channels, first, 3, 1, 1, bias=False)]
    layers += [nn.InstanceNorm2d(first, affine=True), nn.ReLU()]
    if published_stem:
        layers.append(nn.MaxPool2d(3, 2, 1))
    incoming = first
    for stage in range(4):
        outgoing = first * 2**stage
        layers += [Residual(incoming, outgoing, 2 if stage else 1), Residual(outgoing, outgoing, 1)]
        incoming = outgoing
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(incoming, classes))


def vit(params, x, *, heads, depth):
    """Logits of images by PyTorch's encoder, which is given our parameters by name."""
    dim = params["positions"].shape[1]
    block = nn.TransformerEncoderLayer(
        dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    encoder = nn.TransformerEncoder(block, depth, norm=nn.LayerNorm(dim), enable_nested_tensor=False).to(x.dtype)
    ours = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj.": "attended.",
        "linear1.": "wide.",
        "linear2.": "narrow.",
        "norm1.": "norm0.",
        "norm2.": "norm1.",
        "norm.": "norm.",
    }
    state = {}
    for name in encoder.state_dict():
        place, _, rest = name.partition("layers.")[2].partition(".") if name.startswith("layers.") else ("", "", name)
        theirs = next(key for key in ours if rest.startswith(key))
        state[name] = params[(f"block{place}." if place else "") + ours[theirs] + rest.removeprefix(theirs)]
    encoder.load_state_dict(state)
    patches = nn.functional.unfold(x, params["patch.weight"].shape[-1], stride=params["patch.weight"].shape[-1]).mT
    tokens = patches @ params["patch.weight"].flatten(1).T + params["patch.bias"]
    tokens = torch.cat([params["class_token"].expand(len(x), 1, dim), tokens], 1) + params["positions"]
    return encoder(tokens)[:, 0] @ params["linear.weight"].T + params["linear.bias"]
