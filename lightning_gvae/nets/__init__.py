"""Plain networks: encoders ``(B, C, H, W) -> (B, 2Z)`` and decoders ``(B, Z) -> (B, C, H, W)`` (raw outputs).

- :mod:`~lightning_gvae.nets.mlp`: fully connected, any image shape.
- :mod:`~lightning_gvae.nets.halving`: sizes of feature maps for images of any size from 8x8 on.
- :mod:`~lightning_gvae.nets.conv`: halving convolutions (Burgess's net at 64x64).
- :mod:`~lightning_gvae.nets.resnet`: the same with residual blocks and group normalisation.
- :mod:`~lightning_gvae.nets.autoencoder_kl`: the VAE of a latent diffusion model.
- :mod:`~lightning_gvae.nets.control64`: the 64x64 net of beta-VAE H and ControlVAE.
- :mod:`~lightning_gvae.nets.genome_plan`, :mod:`~lightning_gvae.nets.genome_autoencoder`: layers of a genome, their
  costs, and the networks.
- :mod:`~lightning_gvae.nets.stacked`: K independent small networks as batched matrix products.
- :mod:`~lightning_gvae.nets.flow`, :mod:`~lightning_gvae.nets.priors`: affine couplings; priors that learn with a
model.
- :mod:`~lightning_gvae.nets.text.build`, :mod:`~lightning_gvae.nets.text.lstm`,
:mod:`~lightning_gvae.nets.text.transformer`:
  the encoder of sentences, the contract of decoders that write word by word, and the two of them.
- :mod:`~lightning_gvae.nets.lstm`: LSTMs under mixed precision.
- :mod:`~lightning_gvae.nets.settings`, :mod:`~lightning_gvae.nets.build`: a network by name and sizes.
- :mod:`~lightning_gvae.nets.summary`: what a model's networks are, and how many weights they have.
"""
