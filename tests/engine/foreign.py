"""Models that are unlike the built-in ones: residual, tied, without biases, of tokens."""

from __future__ import annotations

import onnx
import torch
from torch import nn


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        self.second = nn.Conv2d(channels, channels, 1)
        self.way_round = nn.Conv2d(channels, channels, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return self.way_round(x) + self.second(nn.functional.relu6(self.first(x)))


class ResidualCNN(nn.Module):
    """Convolutions of stride 2, ReLU6, residual sums."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.ModuleList([ResidualBlock(8, 1), ResidualBlock(8, 2), ResidualBlock(8, 1)])
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = nn.functional.relu6(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class DecoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x):
        h = self.norm1(x)
        x = x + self.o(nn.functional.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h), is_causal=True))
        h = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class Decoder(nn.Module):
    """A Llama-shaped language model: RMSNorm, no biases, the head tied to the embedding."""

    def __init__(self, vocabulary: int = 64, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(DecoderBlock(width) for _ in range(depth))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class EncoderBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads

    def forward(self, x, mask):
        heads = [part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)]
        mixed = nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask)
        x = self.norm1(x + self.output(mixed.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """A BERT-shaped encoder of padded tokens: LayerNorm behind each sum, embeddings of words and of places."""

    def __init__(self, vocabulary: int = 64, width: int = 16, depth: int = 2, heads: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(32, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads) for _ in range(depth))
        self.head = nn.Linear(width, 5)

    def forward(self, tokens):
        mask = (tokens != 0)[:, None, None, :]
        x = self.norm(self.words(tokens) + self.places(torch.arange(tokens.shape[1])[None]))
        for block in self.blocks:
            x = block(x, mask)
        return self.head(x[:, 0])


def sequential_cnn() -> nn.Sequential:
    """Return a nested `nn.Sequential` with ReLUs that work in place."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, 2, bias=False))
    return nn.Sequential(body, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 5))


class Reader(nn.Module):
    """A reader of lines of any width: a character each 2 columns, 4 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, 2, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.second(nn.functional.relu(self.first(x)))
        return self.head(x.flatten(1, 2).transpose(1, 2))


def ragged_reader() -> tuple[Reader, list[torch.Tensor]]:
    """Return a reader with seeded weights, and batches of lines of two widths, 8 pixels high."""
    torch.manual_seed(0)
    return Reader(), [torch.randn(samples, 1, 8, width) for samples, width in ((3, 10), (2, 10), (4, 16))]


def foreign_models() -> dict[str, tuple[nn.Module, torch.Tensor]]:
    """Return every model, with seeded weights, and inputs for it."""
    torch.manual_seed(0)
    images = torch.randn(6, 3, 8, 8)
    tokens = torch.randint(1, 64, (6, 7)) * (torch.arange(7) < torch.tensor([[7], [3], [5], [7], [6], [2]]))
    return {
        "sequential": (sequential_cnn(), images),
        "residual": (ResidualCNN(), images),
        "decoder": (Decoder(), torch.randint(0, 64, (6, 7))),
        "encoder": (Encoder(), tokens),
    }


def exported(module: nn.Module, inputs: torch.Tensor, optimize: bool = True) -> onnx.ModelProto:
    """Return a module as an ONNX graph that takes batches of any size."""
    sizes = ({0: "batch"},)
    return torch.onnx.export(module, (inputs,), dynamic_shapes=sizes, verbose=False, optimize=optimize).model_proto


def layers_of(module: nn.Module) -> list[str]:
    """Return the names of the layers that have a weight to quantize."""
    kinds = nn.Linear | nn.Conv2d | nn.Embedding
    return [name for name, part in module.named_modules() if isinstance(part, kinds)]
