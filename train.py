"""Train a model: ``python train.py model=evae data=dsprites``."""

from lightning_gvae.cli import train_main

if __name__ == "__main__":
    train_main()
