"""Protocols over many runs that end in tables, figures and an answer in words.

- ``cells``: runs the cells of a study, each in a process of its own; finished ones are kept, broken-off ones go on
- ``intervals``: means, paired differences and their confidence intervals
- ``betas``: which way of setting the KL weight is best at equal compute
"""
