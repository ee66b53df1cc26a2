"""A MetaFormer laid out as the original release's modules are, to try its names on."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Positions(nn.Module):
    def __init__(self, dim: int, side: int):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, dim, side, side))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pos_embed


class Patches(nn.Module):
    def __init__(self, inputs: int, dim: int, kernel: int, stride: int, padding: int):
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Pool(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x


class SelfAttention(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.qkv(x.flatten(2).transpose(1, 2))
        q, k, v = (part.unflatten(2, (-1, 32)).transpose(1, 2) for part in tokens.chunk(3, 2))
        out = (q @ k.transpose(2, 3) * 32**-0.5).softmax(3) @ v
        return self.proj(out.transpose(1, 2).flatten(2)).transpose(1, 2).reshape(x.shape)


class PositionFc(nn.Module):
    def __init__(self, side: int):
        super().__init__()
        self.fc = nn.Linear(side**2, side**2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(2)).reshape(x.shape)


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim, 4 * dim, 1), nn.Conv2d(4 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim: int, mixer: nn.Module):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(1, dim), nn.GroupNorm(1, dim)
        self.token_mixer, self.mlp = mixer, Mlp(dim)
        self.layer_scale_1, self.layer_scale_2 = (nn.Parameter(torch.ones(dim)) for _ in "12")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1[:, None, None] * self.token_mixer(self.norm1(x))
        return x + self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x))


class OriginalLayout(nn.Module):
    """Stages, and what stands between them, lie in one list: `network`."""

    def __init__(
        self, depths: tuple[int, ...], dims: tuple[int, ...], mixers: tuple[str, ...], side: int
    ):
        super().__init__()
        self.patch_embed = Patches(3, dims[0], 7, 4, 2)
        network: list[nn.Module] = []
        for i, (depth, dim, mixer) in enumerate(zip(depths, dims, mixers, strict=True)):
            if i:
                network.append(Patches(dims[i - 1], dim, 3, 2, 1))
                side = (side + 1) // 2
            if mixer == "attention" and "attention" not in mixers[:i]:
                network.append(Positions(dim, side))
            make = {
                "pooling": Pool,
                "attention": lambda dim=dim: SelfAttention(dim),
                "spatial_fc": lambda side=side: PositionFc(side),
            }[mixer]
            network.append(nn.Sequential(*(Block(dim, make()) for _ in range(depth))))
        self.network = nn.ModuleList(network)
        self.norm, self.head = nn.GroupNorm(1, dims[-1]), nn.Linear(dims[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed(images)
        for part in self.network:
            x = part(x)
        return self.head(self.norm(x).mean((2, 3)))
