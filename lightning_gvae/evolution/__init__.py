"""Evolution without a trainer: operators, genes, searches, look-ahead. It sees arrays, tensors and callables."""
