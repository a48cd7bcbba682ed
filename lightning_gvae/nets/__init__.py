"""Plain networks: encoders ``(B, C, H, W) -> (B, 2Z)`` and decoders ``(B, Z) -> (B, C, H, W)`` (raw outputs).

- :mod:`~lightning_gvae.nets.mlp`: fully connected, any image shape.
- :mod:`~lightning_gvae.nets.conv`: halving convolutions (Burgess's net at 64x64; smaller ones at 28x28 and 32x32).
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
- :mod:`~lightning_gvae.nets.build`: a network by name.
"""
