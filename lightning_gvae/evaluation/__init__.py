"""Scores of a trained model on a data set, by name.

- ``subject``: a model and its data as the metrics see them: posteriors, codes of factors, samples, real images
- ``suite``: which score needs what, and the settings of all
"""
