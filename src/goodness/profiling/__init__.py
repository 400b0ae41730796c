"""What a training step costs: seconds, bytes, and the bound that its convolutions set."""
