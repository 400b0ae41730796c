"""Training by several processes that torchrun has started: they share the blocks, or each batch."""
