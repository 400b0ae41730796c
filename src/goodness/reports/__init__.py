"""What tells of a run: progress, curves, the confusion matrix, the environment."""
