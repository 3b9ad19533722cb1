"""The VAE: the portrait to latents, latents to frames a chunk at a time."""

from .coding import CHUNK, SCALE, decode_chunks, decode_frames, encode_reference, to_bytes
from .loading import load_vae, vae_from_state_dict

__all__ = [
    "CHUNK",
    "SCALE",
    "decode_chunks",
    "decode_frames",
    "encode_reference",
    "load_vae",
    "to_bytes",
    "vae_from_state_dict",
]
