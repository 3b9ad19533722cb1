"""EchoMimicV2 engine: from a half-body portrait, a voice and hand poses to a talking video.

Nothing heavy is imported here; each module brings in what it needs.
"""

__version__ = "0.1.0"
