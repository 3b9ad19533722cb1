"""Stand-in for the latent format of Stable Diffusion 1.5."""


class SD15:
    scale_factor = 0.18215
    latent_rgb_factors = [[0.35, 0.23, 0.32], [0.33, 0.5, 0.24], [-0.28, 0.18, 0.27], [-0.21, -0.26, -0.72]]
