"""Data sets as Lightning data modules: uint8 images in memory, whole batches, an order that survives a restart.

- ``arrays``, ``array_files``: images in NumPy's files, memory-mapped and without pickles
- ``base``: ``DataSpec`` and ``ImageDataModule``, what every data module here has in common
- ``batches``: ``Split`` and ``BatchLoader``, the loader whose order is a function of (seed, epoch)
- ``cars3d``, ``mpi3d``, ``shapes3d``, ``smallnorb``: sets with factors from official files; ``factors`` is their base
- ``cifar``: CIFAR-10, in a folder or still in its archive
- ``criterion``: points that meet the criteria of a constrained problem, generated once and kept
- ``dataset``, ``own``: any data set with items, and any other ``LightningDataModule``
- ``digits``: 1,797 digits of 8x8 pixels that come with scikit-learn; no download, for tests and first runs
- ``download``: downloads that end in whole files or in an error that says what to do by hand
- ``dsprites``: dSprites, rendered on demand or read from the official file
- ``examples``: training images to look at, by class if there are few
- ``huggingface``: data sets of the library ``datasets``
- ``idx``: reader of the IDX file format
- ``mnist``: MNIST and Fashion-MNIST, and every other set in their file layout
- ``pixels``: images of other libraries as uint8 with the channels first
- ``prepared``: arrays that are made once and memory-mapped
- ``safe_pickle``: unpickler of plain values and arrays of bytes that refuses every other name
- ``sprites``: the dSprites renderer, factors and indices
- ``summary``: figures of a data set: parts, targets, pixels, and how fast batches are read
- ``text``, ``ptb``: any corpus with one sentence a line, and the Penn Treebank
- ``text_corpus``, ``text_cache``, ``text_batches``: reading corpora, their memory-mapped numbers, batches of one length
"""
