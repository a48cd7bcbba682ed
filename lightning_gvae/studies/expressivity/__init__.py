"""Study of expressivity: diversity of sets found in learnt latents and in parameters."""

from lightning_gvae.studies.expressivity.study import ExpressivityStudy

__all__ = ["ExpressivityStudy"]
