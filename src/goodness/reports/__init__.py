"""What tells of a run: progress, curves, TensorBoard, the confusion matrix, the environment."""
