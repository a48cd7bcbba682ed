"""Trained models from files, without Hydra: which classes a file may name, and objects of what it says."""
