"""Evaluate a checkpoint: ``python eval.py ckpt_path=...``."""

from lightning_gvae.cli.evaluate import main

if __name__ == "__main__":
    main()
