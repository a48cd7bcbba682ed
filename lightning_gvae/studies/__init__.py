"""Protocols over many runs that end in tables, figures and an answer in words.

- ``cells``: runs the cells of a study, each in a process of its own; finished ones are kept, broken-off ones go on
- ``intervals``: means, paired differences and their confidence intervals
- ``betas``: which way of setting the KL weight is best at equal compute
- ``kl_vanishing``: which remedy keeps the KL of a text VAE from vanishing
- ``solve``: search spaces learnt from valid points against the plain genetic algorithm, beside the published results
- ``moncae``: evolved autoencoders against the paper's Table 1, and algorithms against random search
"""
