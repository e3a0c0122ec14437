"""Dense decoders: shapes, weights and the forward pass."""
