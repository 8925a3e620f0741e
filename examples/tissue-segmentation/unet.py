"""The network, and the form in which it wants pictures: what train.py and mdai_deploy.py must agree on."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

#: Channels of the network's answer. On the platform grey matter is class 0 and white matter class 1.
BACKGROUND, GREY, WHITE = range(3)
#: The network learned from pixels of this size; others are resampled to it.
PIXEL_MM = 1.0
#: Two halvings: rows and columns must be multiples of this.
MULTIPLE = 4


class UNet(nn.Module):
    """Three levels, 30 thousand weights. (n, 1, rows, columns) becomes (n, 3, rows, columns): one score per channel."""

    def __init__(self, widths=(8, 16, 32)):
        super().__init__()
        first, second, third = widths
        self.down1 = block(1, first)
        self.down2 = block(first, second)
        self.deepest = block(second, third)
        self.up2 = block(third + second, second)
        self.up1 = block(second + first, first)
        self.head = nn.Conv2d(first, 3, kernel_size=1)

    def forward(self, pictures):
        return self.head(self.features(pictures))

    def features(self, pictures):
        """The last features, of the pictures' own size. On their own, so that Grad-CAM can ask what they speak for."""
        fine = self.down1(pictures)
        middle = self.down2(functional.max_pool2d(fine, 2))
        deepest = self.deepest(functional.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([twice(deepest), middle], dim=1))
        return self.up1(torch.cat([twice(middle), fine], dim=1))


def block(inputs, outputs):
    """Two 3 x 3 convolutions, each normalised."""
    layers = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def twice(features):
    """Rows and columns doubled."""
    return functional.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def save_weights(network, path):
    """Half precision is enough, and halves the file."""
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    torch.save(state, path)


def load_network(path):
    """The trained network, ready to predict on the CPU."""
    network = UNet()
    # weights_only: a file of weights shall be able to bring numbers and nothing that runs.
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


def normalised(slices):
    """The slices of a series, a list of (rows, columns) arrays, as float32 in which white matter is about 1, air 0.

    One scale for all of them. Percentiles, since a few bright vessels shall not set it.
    """
    values = np.concatenate([pixels.ravel() for pixels in slices]).astype(np.float32)
    darkest, brightest = np.percentile(values, [0.5, 99.9])
    bright = values[values > darkest + 0.1 * (brightest - darkest)]  # less is air
    white = np.percentile(bright, 95) if bright.size else brightest
    scale = max(float(white - darkest), 1e-6)
    return [((pixels - darkest) / scale).clip(0, 2).astype(np.float32) for pixels in slices]


def padded(pictures):
    """(n, 1, rows, columns) with air added below and to the right until the network can halve it twice."""
    rows, columns = pictures.shape[-2:]
    return functional.pad(pictures, (0, -columns % MULTIPLE, 0, -rows % MULTIPLE))
