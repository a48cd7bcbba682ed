"""Study of models that learn from their own output, generation after generation."""

from lightning_gvae.studies.collapse.study import CollapseStudy

__all__ = ["CollapseStudy"]
