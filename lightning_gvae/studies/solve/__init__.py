"""Study of SOLVE: constrained search in a latent space learnt from valid points."""

from lightning_gvae.studies.solve.study import SolveStudy

__all__ = ["SolveStudy"]
