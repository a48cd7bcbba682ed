"""Training images to look at, chosen by the seed."""

import math

import numpy as np
import numpy.typing as npt

from lightning_gvae.datamodules.base import ImageDataModule
from lightning_gvae.datamodules.summary import FEW_CLASSES
from lightning_gvae.rng import numpy_stream

__all__ = ["examples"]

CHUNK = 1024  # images looked through at a time


def examples(datamodule: ImageDataModule, rows: int = 10, columns: int = 10) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Rows of training images ``(N, C, H, W)``, each with a name.

    Labels of at most ``FEW_CLASSES`` classes make a row each, named after the class, with fewer than ``columns`` images
    if there are no more; otherwise ``rows`` rows without a name show images of any kind.

    Args:
        datamodule: A data set that is set up; its seed, 0 if it has none, chooses the images.
        rows: Rows of images that are not shown by class.
        columns: Images a row.
    """
    spec, part = datamodule.spec, datamodule.train_set
    order = numpy_stream(getattr(datamodule, "seed", 0), "examples").permutation(len(part))
    if spec.num_classes is None or spec.num_classes > FEW_CLASSES:
        images = part.batch(order[: rows * columns])[0].numpy()
        return [("", images[row * columns : (row + 1) * columns]) for row in range(math.ceil(len(images) / columns))]
    found: list[list[npt.NDArray[np.uint8]]] = [[] for _ in range(spec.num_classes)]
    for start in range(0, len(order), CHUNK):
        images, labels = (tensor.numpy() for tensor in part.batch(order[start : start + CHUNK]))
        for number, row in enumerate(found):
            row.extend(images[labels == number][: columns - len(row)])
        if all(len(row) == columns for row in found):
            break
    names = spec.class_names or tuple(map(str, range(spec.num_classes)))
    empty = np.empty((0, *spec.image_shape), np.uint8)
    return [(name, np.stack(row) if row else empty) for name, row in zip(names, found, strict=True)]
