"""Ways to run a latent search: our tensors over all runs at once, DEAP, pymoo."""
