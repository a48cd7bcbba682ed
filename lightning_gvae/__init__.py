"""Train, evolve and study variational autoencoders with PyTorch Lightning."""

__version__ = "0.1.0"
