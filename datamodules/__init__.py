"""Data sets as Lightning data modules: uint8 images in memory, whole batches, an order that survives a restart.

- ``base``: ``DataSpec`` and ``ImageDataModule``, what every data module here has in common
- ``batches``: ``Split`` and ``BatchLoader``, the loader whose order is a function of (seed, epoch)
- ``digits``: 1,797 digits of 8x8 pixels that come with scikit-learn; no download, for tests and first runs
- ``dsprites``: dSprites, rendered on demand or read from the official file
- ``idx``: reader of the IDX file format
- ``mnist``: MNIST, and every set in its file layout, such as Fashion-MNIST
- ``sprites``: the dSprites renderer, factors and indices
"""
