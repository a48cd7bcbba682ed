"""Train a model: ``python train.py model=evae data=dsprites``."""

from lightning_gvae.cli.train import main

if __name__ == "__main__":
    main()
