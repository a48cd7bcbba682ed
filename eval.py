"""Evaluate a checkpoint: ``python eval.py ckpt_path=...``."""

from lightning_gvae.cli import eval_main

if __name__ == "__main__":
    eval_main()
