"""Trained models as files that outlive their run: folders with a card, graphs for other runtimes, the Hub, W&B."""
