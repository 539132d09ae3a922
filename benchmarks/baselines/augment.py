"""augment by other means: torchvision's v2 transforms in a DataLoader, and plain torch on a batch.

The second takes the 12 parameters of neurogaze_fast.reference.augment and gives its result. The
first does the same steps in the same ranges; its border and its contrast are torchvision's own.
"""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as V

MEAN, STD = 0.5, 0.25


class Augmented(Dataset):
    """One image at a time, each with its own parameters, as people write it.

    `moves` are angle, shift, scale, flip, cutout box, gain and bias of each image; see `draw`.
    """

    def __init__(self, store, moves, *, size, channels):
        self.store, self.moves, self.size, self.channels = store, moves, size, channels
        self.finish = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN], [STD])]
        )

    def __len__(self):
        return len(self.moves)

    def __getitem__(self, row):
        angle, shift, scale, flip, box, gain, bias = self.moves[row]
        pixels = self.store[row % len(self.store)]
        image = tv_tensors.Image(pixels.movedim(2, 0) if pixels.ndim == 3 else pixels.unsqueeze(0))
        image = V.affine(image, angle, shift, scale, [0.0, 0.0], V.InterpolationMode.BILINEAR)
        if flip:
            image = V.horizontal_flip(image)
        if image.shape[-1] != self.size:
            image = V.resize(image, [self.size, self.size], antialias=False)
        image = V.adjust_contrast(V.adjust_brightness(image, 1 + bias), gain)
        image = self.finish(image)
        left, top, side = box
        if side:
            image = V.erase(image, top, left, side, side, torch.zeros(1, 1, 1))
        return image.expand(self.channels, -1, -1)


def draw(count, size, seed=0):
    """Moves of `count` images in the ranges of the package's own augmentation."""
    u = torch.rand(count, 10, generator=torch.Generator().manual_seed(seed)).tolist()
    moves = []
    for a, b, c, d, e, f, g, h, i, j in u:
        side = int(0.2 * size * f)
        corner = [int(v * (size - side)) for v in (g, h)]
        shift = [0.08 * 48 * (2 * v - 1) for v in (c, d)]
        turn, zoom = 10 * (2 * a - 1), 1 + 0.1 * (2 * b - 1)
        box = (*corner, side)
        moves.append((turn, shift, zoom, e < 0.5, box, 1 + 0.15 * (2 * i - 1), 0.1 * (2 * j - 1)))
    return moves


def loader(store, moves, *, size, channels, batch, workers=2):
    """Batches of the above, channels_last, from a DataLoader whose workers stay alive."""

    def collate(images):
        return torch.stack(images).contiguous(memory_format=torch.channels_last)

    return DataLoader(
        Augmented(store, moves, size=size, channels=channels),
        batch_size=batch,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
    )


def plain_torch(store, index, params, *, size, channels, dtype):
    """The fastest plain torch we found for a batch.

    Against the reference: the grid is one batched product, scaled in its 2 x 3 matrices; gain, bias
    and normalisation are one multiply-add, and the cutout is one product with a mask of two lines.
    """
    height, width = store.shape[1:3]
    pixels = store[index]
    pixels = (pixels.movedim(3, 1) if pixels.ndim == 4 else pixels.unsqueeze(1)).float()
    scale = params.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)]).view(1, 2, 1)
    matrix = params[:, :6].view(-1, 2, 3) * scale
    line = torch.arange(size, device=store.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.ones(size * size, device=x.device)])
    grid = (matrix @ points).sub_(1).view(-1, 2, size, size).permute(0, 2, 3, 1)
    value = F.grid_sample(pixels, grid, "bilinear", "border", align_corners=True)
    gain, bias = params[:, 10] / (255 * STD), (params[:, 11] - MEAN) / STD
    keep_x = (line < params[:, 6:7]) | (line >= params[:, 8:9])
    keep_y = (line < params[:, 7:8]) | (line >= params[:, 9:10])
    keep = keep_y.unsqueeze(2) | keep_x.unsqueeze(1)
    value = torch.addcmul(bias.view(-1, 1, 1, 1), value, gain.view(-1, 1, 1, 1))
    value = (value * keep.unsqueeze(1)).to(dtype)
    return value.expand(-1, channels, -1, -1).contiguous(memory_format=torch.channels_last)
