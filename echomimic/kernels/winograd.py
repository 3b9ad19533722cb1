"""3x3 convolution by Winograd's minimal filtering, for CPUs: a quarter of the multiplications, float32.

F(4x4, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308): the picture is
cut in tiles of 6x6 that overlap by two; input tiles and filters are transformed, multiplied element by element (a
matrix product over channels for each of the 36 elements) and transformed back to 4x4 pixels. On random weights the
result differs from the direct sum by 2e-6 (relative), torch's own convolution by 2e-7.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import cpu_matmul

# The filter transform for the points 0, 1, -1, 2, -2 and infinity, [6, 3].
FILTER = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
FILTER_2D = torch.kron(FILTER, FILTER).float()  # [36, 9]

# The transforms are bound by memory bandwidth, so tiles are processed in chunks that fit the cache.
CHUNK_BYTES = 12 * 2**20
# Up to this size all transformed filters of a layer (four times its weights) are held at once; else they are computed
# in parts, and the picture is transformed again for each part.
FILTER_BYTES = 128 * 2**20
# With fewer pixels transforming the filters costs more than the products save (768, which is 8x8 in a window of 12
# frames, take two thirds of the time of `patches` on an AMD EPYC with AVX-512); with fewer channels, transforming the
# picture does (measured against oneDNN's direct convolution).
MIN_PIXELS = 512
MIN_CHANNELS = 64


def should_use(pictures: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` is expected to beat the direct convolution for `[B, C, h, w]` and `[O, C, 3, 3]`."""
    if pictures.dtype != torch.float32:
        return False
    pixels = pictures.shape[0] * pictures.shape[2] * pictures.shape[3]
    return pixels >= MIN_PIXELS and min(weight.shape[:2]) >= MIN_CHANNELS and min(pictures.shape[2:]) >= 3


def transform_input(taps: Sequence[Tensor] | Tensor, out: Sequence[Tensor] | Tensor) -> None:
    """Six taps along one axis of a tile -> six coefficients: the matrix of the paper's section 4.3, B transposed."""
    x0, x1, x2, x3, x4, x5 = taps
    even, odd = torch.sub(x4, x2, alpha=4), torch.sub(x3, x1, alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(x4, x2, out=even)
    torch.sub(x3, x1, out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.add(x4, x0, alpha=4, out=even)
    torch.sub(even, x2, alpha=5, out=out[0])
    torch.add(x5, x1, alpha=4, out=odd)
    torch.sub(odd, x3, alpha=5, out=out[5])


def transform_output(coefficients: Sequence[Tensor] | Tensor, out: Sequence[Tensor] | Tensor) -> None:
    """Six coefficients along one axis -> four pixels: the matrix A transposed."""
    m0, m1, m2, m3, m4, m5 = coefficients
    near, far = m1 + m2, m3 + m4
    torch.add(near, far, alpha=4, out=out[2])
    near += m0
    torch.add(near, far, out=out[0])
    torch.sub(m1, m2, out=near)
    torch.sub(m3, m4, out=far)
    torch.add(near, far, alpha=2, out=out[1])
    near += m5
    torch.add(near, far, alpha=8, out=out[3])


def chunks(pictures: int, rows: int, row_bytes: int) -> list[tuple[slice, slice]]:
    """Parts of (pictures, rows of tiles) of about `CHUNK_BYTES`: whole pictures, or some rows of one."""
    count = max(1, CHUNK_BYTES // row_bytes)
    if count >= rows:
        step = count // rows
        return [(slice(i, i + step), slice(0, rows)) for i in range(0, pictures, step)]
    return [(slice(i, i + 1), slice(j, j + count)) for i in range(pictures) for j in range(0, rows, count)]


def convolve(pictures: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What `conv2d` with padding 1 and stride 1 gives, in channels-last layout.

    Args:
        pictures: float32 `[B, C, h, w]`, best in channels-last layout.
        weight: `[O, C, 3, 3]`, any floating precision.
        bias: `[O]` or None.

    Returns:
        float32 `[B, O, h, w]`.
    """
    batch, channels, height, width = pictures.shape
    outputs = weight.shape[0]
    rows, columns = -(-height // 4), -(-width // 4)
    padded = F.pad(pictures.permute(0, 2, 3, 1), (0, 0, 1, columns * 4 - width + 1, 1, rows * 4 - height + 1))
    b, y, x, c = padded.stride()
    tiles = padded.as_strided((batch, rows, 6, columns, 6, channels), (b, 4 * y, y, 4 * x, x, c))
    result = pictures.new_empty(batch, rows * 4, columns * 4, outputs)
    blocks = result.view(batch, rows, 4, columns, 4, outputs)

    parts = chunks(batch, rows, 4 * 36 * columns * max(channels, outputs))
    at_once = max(1, FILTER_BYTES // (4 * 36 * channels))
    for begin in range(0, outputs, at_once):
        chosen = slice(begin, min(begin + at_once, outputs))
        flat = weight[chosen].float().permute(2, 3, 0, 1).reshape(9, -1)  # [9, O * C]
        filters = torch.mm(FILTER_2D, flat).view(36, -1, channels)  # [36, O, C]
        for part in parts:
            convolve_tiles(tiles[part], filters, blocks[part][..., chosen])
    result = result[:, :height, :width]
    if bias is not None:
        result += bias.float()
    return result.permute(0, 3, 1, 2)


def convolve_tiles(tiles: Tensor, filters: Tensor, out: Tensor) -> None:
    """Tiles `[n, rows, 6, columns, 6, C]` and transformed filters `[36, O, C]` -> `out [n, rows, 4, columns, 4, O]`."""
    count, rows, _, columns, _, channels = tiles.shape
    outputs = filters.shape[1]
    along_rows = tiles.new_empty(6, count, rows, columns, 6, channels)
    transform_input(tiles.unbind(2), along_rows)
    coefficients = tiles.new_empty(6, 6, count, rows, columns, channels)
    transform_input(along_rows.unbind(4), coefficients.unbind(1))
    multiplied = cpu_matmul.linears(coefficients.view(36, -1, channels), filters)
    lines = tiles.new_empty(4, 6, count, rows, columns, outputs)
    for column in range(6):
        transform_output([part.view(count, rows, columns, outputs) for part in multiplied[column::6]], lines[:, column])
    transform_output(lines.unbind(1), out.permute(4, 2, 0, 1, 3, 5))
