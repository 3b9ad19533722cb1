"""Stand-in for ComfyUI's command line."""


class args:
    disable_metadata = False
