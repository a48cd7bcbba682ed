"""Tests of lightning_gvae.loggers."""
