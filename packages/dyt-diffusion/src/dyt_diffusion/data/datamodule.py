"""The data module of diffusion: images in [-1, 1], or latents of large ones, with their classes.

Each data set is read into arrays once, before training: what cannot be read is named then.
"""

from pathlib import Path

from torch import Tensor

from dyt_bench.plugin.data import SeededDataModule, at_most
from dyt_diffusion.data.sets import Sets, read

VAL_MOST = 2000  # images: more tell no more about a loss, and a validation should stay short


class DiffusionData(SeededDataModule):
    """Batches ``(images (B, channels, size, size) float, labels (B,) int64)``.

    Pixels are in [-1, 1]; latents have about unit variance. At most 2,000 images are held out.

    Attributes:
        plain, key, class_names, levels, autoencoder: as in `dyt_diffusion.data.sets.Sets`.
        channels, size: of an image.
        classes: how many there are.

    Args:
        dataset: its name in `dyt_diffusion.catalog`, or sets of your own.
        path: of your own images.
        batch_size: images of a training step, of all processes together.
        flip: the chance that a training image is mirrored; digits never are.
        train_samples: train on at most so many.
        skip_bad_files: leave out files that cannot be read; else they are an error.
        digest: of the files, where it is known.

    Raises:
        DataError: files are missing, cannot be read as images, or are not laid out as they
            should be; or a class has too few of them.
        UserError: no data set has that name.
    """

    def __init__(
        self,
        dataset: str | Sets = "digits",
        path: str | Path | None = None,
        *,
        batch_size: int = 32,
        seed: int = 0,
        flip: float = 0.0,
        train_samples: int | None = None,
        skip_bad_files: bool = False,
        digest: str = "",
    ) -> None:
        sets = dataset
        if isinstance(sets, str):
            folder = None if path is None else Path(path)
            sets = read(sets, folder, flip=flip, skip=skip_bad_files, digest=digest)
        super().__init__(
            at_most(sets.train, train_samples),
            at_most(sets.val, VAL_MOST),
            batch_size=batch_size,
            seed=seed,
        )
        self.plain, self.key = sets.plain, sets.key
        self.class_names, self.classes = list(sets.class_names), len(sets.class_names)
        self.channels, self.size, _ = sets.plain[0][0].shape
        self.levels, self.autoencoder = sets.levels, sets.autoencoder

    def pictures(self, samples: Tensor) -> Tensor:
        """Samples (B, channels, size, size) -> (B, 1 or 3, H, W) in [0, 1], to be looked at."""
        if self.autoencoder is not None:
            samples = self.autoencoder.decode(samples)
        return ((samples + 1) / 2).clamp(0, 1)
