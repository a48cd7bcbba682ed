"""Look at a data set before training: ``python -m lightning_gvae.inspect data=mnist``."""

from lightning_gvae.cli.inspect import main as inspect_main

if __name__ == "__main__":
    inspect_main()
