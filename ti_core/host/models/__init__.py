"""The host's models: borrowed, differentiable, in the engine's terms."""
