"""Look into trained models in a browser: ``python app.py``."""

from lightning_gvae.cli.app import main

if __name__ == "__main__":
    main()
