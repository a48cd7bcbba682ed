"""Losses: the terms of the ELBO, and those of a generator and its discriminator."""
