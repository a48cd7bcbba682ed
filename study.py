"""Run a study: ``python study.py study=betas study/scale=small workers=2``."""

from lightning_gvae.cli.study import main

if __name__ == "__main__":
    main()
