"""Pictures of poses: the model's input, overlays on a portrait, contact sheets, and plots under a voice."""
