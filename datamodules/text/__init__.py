"""Corpora with one sentence a line as a Lightning data module."""

from lightning_gvae.datamodules.text.datamodule import TextDataModule, TextSpec

__all__ = ["TextDataModule", "TextSpec"]
