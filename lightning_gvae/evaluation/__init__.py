"""Scores of a trained model on a data set, by name.

- ``subject``: a model and its data as the metrics see them: posteriors, codes of factors, samples, real images
- ``catalogue``: every score by name, what it needs and what computes it
- ``likelihood``, ``disentanglement``, ``images``, ``diversity``, ``text``: the scores, in pieces done one by one
- ``requirements``: what scores need of model and data
- ``suite``, ``settings``: an evaluation, and the settings of all scores
- ``results``, ``score_file``: what was found and what was left out, and the file that keeps both
"""
