"""Parts of a training run that are no callbacks: batches, evaluation modes, snapshots, checkpoint files."""
