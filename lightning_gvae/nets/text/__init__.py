"""Encoders and decoders of sentences."""
