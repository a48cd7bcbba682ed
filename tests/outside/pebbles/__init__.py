"""A small package of somebody else's, which knows of lightning-gvae no more than docs/own_parts.md says."""
