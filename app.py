"""Look into trained models in a browser: ``python app.py``."""

from lightning_gvae.cli import app_main

if __name__ == "__main__":
    app_main()
