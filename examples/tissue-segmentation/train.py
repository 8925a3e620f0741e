"""Trains the tissue network and writes weights.pt beside this file; three to four minutes on two cores.

    python -m pip install torch==2.13.0 nilearn pydicom
    python train.py                       # train, print what is held out and how well that went, write weights.pt
    python train.py --write-series DIR    # no training: the held-out slices as a DICOM series, to try the model on

The data are the MNI152 templates of T1, grey and white matter at 1 mm, which lie inside the nilearn package: nothing
is downloaded. They are the average of 152 brains, without skulls. One average brain shows that the pipeline works, and
nothing about patients. Seeds are fixed: the same machine and number of threads (OMP_NUM_THREADS) give the same weights.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from torch.nn import functional
from unet import GREY, WHITE, UNet, load_network, normalised, padded, save_weights

WEIGHTS = Path(__file__).resolve().with_name("weights.pt")
SEED = 152
#: Of 16 slices that follow each other 3 are held out, and 3 on either side of these are not used at all:
#: neighbours a millimetre apart are nearly the same picture.
PERIOD, HELD_OUT, GAP = 16, 3, 3
#: Slices with less tissue than this show a tip of the brain.
LEAST_TISSUE = 500
EPOCHS, BATCH, LEARNING_RATE = 40, 4, 0.01
#: After this part of the epochs it is settling: statistics are fixed, and slices look more like the template.
SETTLING, CLOSE = 0.6, 0.25
#: Side of the windows that it learns from, in pixels; the network itself takes any size.
WINDOW = 144


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--write-series", type=Path, metavar="DIR", help="write the held-out slices as DICOM to DIR")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    pictures, tissues, heights = load_slices()
    training, held_out = split(heights)
    if options.write_series:
        write_series(options.write_series, pictures[held_out], heights[held_out])
        print(f"{len(held_out)} slices in {options.write_series}")
        return
    print(f"data: {len(pictures)} axial slices of {pictures.shape[1]} x {pictures.shape[2]} pixels of 1 mm, MNI152")
    print(f"split: {len(training)} to train on, {len(held_out)} held out, at least {GAP} unused between them")
    print(f"held out, z in mm: {' '.join(str(height) for height in heights[held_out])}")
    network = train(normalised(pictures[training]), tissues[training], options.epochs)
    save_weights(network, WEIGHTS)
    count = sum(each.numel() for each in network.parameters())
    print(f"{WEIGHTS.name}: {count} weights, {WEIGHTS.stat().st_size} bytes")
    # What is measured is what is served: the weights as they were written, in half precision.
    grey, white = held_out_dice(load_network(WEIGHTS), normalised(pictures[held_out]), tissues[held_out])
    print(f"held-out Dice: grey matter {grey:.4f}, white matter {white:.4f}")


def load_slices():
    """Pictures (n, rows, columns) in 0 to 1, the tissue of each pixel, and z in mm of each slice that shows a brain.

    As DICOM wants axial slices: rows run to the back, columns to the patient's left.
    """
    template = load_mni152_template(resolution=1)
    grey, white = (load(resolution=1).get_fdata() for load in (load_mni152_gm_template, load_mni152_wm_template))
    likelihoods = np.stack([np.clip(1 - grey - white, 0, 1), grey, white])
    tissues = np.moveaxis(likelihoods.argmax(axis=0)[::-1, ::-1], (2, 1), (0, 1))
    pictures = np.moveaxis(template.get_fdata()[::-1, ::-1], (2, 1), (0, 1))
    heights = np.arange(len(pictures)) + round(template.affine[2, 3])
    shown = (tissues > 0).sum(axis=(1, 2)) >= LEAST_TISSUE
    return pictures[shown].astype(np.float32), tissues[shown].astype(np.int64), heights[shown]


def split(heights):
    """Indices of the slices to train on and of those held out."""
    phase = heights % PERIOD
    [training] = np.nonzero((phase >= HELD_OUT + GAP) & (phase < PERIOD - GAP))
    [held_out] = np.nonzero(phase < HELD_OUT)
    return training, held_out


def train(pictures, tissues, epochs):
    """The network after `epochs` passes over augmented slices; prints the loss of each."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    pictures = padded(torch.from_numpy(np.stack(pictures))[:, None])
    tissues = padded(torch.from_numpy(tissues)[:, None])
    network = UNet().train()
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    batches = -(-len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * batches)
    started = time.monotonic()
    for epoch in range(1, epochs + 1):
        losses = []
        settling = epoch > SETTLING * epochs
        if settling:
            network.eval()  # normalises as it will when it serves, not by what else is in the batch
        for chosen in torch.randperm(len(pictures)).split(BATCH):
            batch, truth = augmented(pictures[chosen], tissues[chosen], CLOSE if settling else 1)
            loss = loss_of(network(batch), truth)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}, {time.monotonic() - started:.0f} s", flush=True)
    return network.eval()


def loss_of(scores, truth):
    """Cross entropy, and one minus the mean Dice of the two tissues."""
    likelihoods = scores.softmax(dim=1)[:, [GREY, WHITE]]
    wanted = torch.stack([truth == GREY, truth == WHITE], dim=1).float()
    both = (likelihoods * wanted).sum(dim=(0, 2, 3))
    dice = (2 * both + 1) / (likelihoods.sum(dim=(0, 2, 3)) + wanted.sum(dim=(0, 2, 3)) + 1)
    return functional.cross_entropy(scores, truth) + 1 - dice.mean()


def augmented(pictures, tissues, farthest):
    """Windows of the slices as another scanner, or another head, would show them, and the tissues in them."""
    count = len(pictures)
    grid = functional.affine_grid(random_affines(count), list(pictures.shape), align_corners=False)
    top, left = (int(torch.randint(length - WINDOW + 1, ())) for length in pictures.shape[-2:])
    grid = grid[:, top : top + WINDOW, left : left + WINDOW]
    pictures = functional.grid_sample(pictures, grid, align_corners=False)
    tissues = functional.grid_sample(tissues.float(), grid, mode="nearest", align_corners=False)

    if torch.rand(()) < 0.2 * farthest:  # acquired with coarser pixels
        coarse = functional.interpolate(pictures, scale_factor=float(uniform((), 0.6, 0.95)), mode="area")
        pictures = functional.interpolate(coarse, pictures.shape[-2:], mode="bilinear", align_corners=False)
    far = farthest * torch.rand(count, 1, 1, 1)  # how far from the template a slice is taken: some stay close to it
    pictures = pictures.clamp(min=0) ** (1 + far * uniform((count, 1, 1, 1), -0.2, 0.25))  # contrast
    field = far * uniform((count, 1, 4, 4), -0.12, 0.12)  # the coil's sensitivity: smooth over the picture
    field = functional.interpolate(field, pictures.shape[-2:], mode="bicubic", align_corners=False)
    pictures = pictures * (1 + field) * (1 + far * uniform((count, 1, 1, 1), -0.08, 0.08))
    noise = far * uniform((count, 1, 1, 1), 0, 0.06) * torch.randn(2, *pictures.shape)
    # Magnitudes of complex noise, as in MR: it is there in air too, and never negative.
    return torch.hypot(pictures + noise[0], noise[1]), tissues[:, 0].long()


def random_affines(count):
    """Flips of all, and of every other one turns by up to 15 degrees and other sizes along each axis: (count, 2, 3)."""
    moved = torch.randint(2, (count,))
    angles = moved * torch.deg2rad(uniform((count,), -15, 15))
    across, down = (1 + moved * uniform((2, count), -0.15, 0.2)) * (torch.randint(2, (2, count)) * 2 - 1)
    nothing = torch.zeros(count)
    first = torch.stack([across * angles.cos(), -down * angles.sin(), nothing], dim=1)
    second = torch.stack([across * angles.sin(), down * angles.cos(), nothing], dim=1)
    return torch.stack([first, second], dim=1)


def uniform(shape, least, most):
    """Random numbers between `least` and `most`."""
    return torch.rand(shape) * (most - least) + least


def held_out_dice(network, pictures, tissues):
    """Dice of grey and of white matter over all pixels of the slices together."""
    rows, columns = pictures[0].shape
    found = []
    with torch.inference_mode():
        for picture in pictures:
            scores = network(padded(torch.from_numpy(picture)[None, None]))
            found.append(scores[0, :, :rows, :columns].argmax(dim=0).numpy())
    return [dice(np.stack(found) == tissue, tissues == tissue) for tissue in (GREY, WHITE)]


def dice(found, truth):
    """Twice what two masks share, over the sum of both."""
    return 2 * np.count_nonzero(found & truth) / max(np.count_nonzero(found) + np.count_nonzero(truth), 1)


def write_series(folder, pictures, heights):
    """The slices as MR images of one series, named by their place from the feet up."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = pictures[0].shape
    for number, (picture, height) in enumerate(zip(pictures, heights, strict=True), start=1):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, generate_uid(entropy_srcs=[f"MNI152 {height}"])
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["MNI152 study"])
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["MNI152 series"])
        dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["MNI152 space"])
        dataset.PatientName, dataset.PatientID, dataset.Modality = "MNI152^Average", "MNI152", "MR"
        dataset.SeriesDescription, dataset.InstanceNumber = "T1 template, held-out slices", number
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [-98, -98, int(height)]  # the template ends 98 mm to the right and in front
        dataset.PixelSpacing, dataset.SliceThickness = [1, 1], 1
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelData = np.round(picture * 4000).astype("<u2").tobytes()
        dataset.save_as(folder / f"slice-{number:03d}.dcm", enforce_file_format=True)


if __name__ == "__main__":
    main()
