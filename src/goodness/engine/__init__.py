"""The step, the loop and the checkpoint. The engine knows no paper."""
