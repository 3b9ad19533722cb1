"""The node types that the workflows use: this pack's, and ComfyUI's own as of 0.33."""

from __future__ import annotations

from typing import Any

from workflow_graph import Kind

PORTRAIT, SPEECH = "echomimic_portrait.png", "echomimic_speech.wav"
WIDE = 420


def own(sockets: dict[str, str], widgets: dict[str, Any], outputs: dict[str, str], size: tuple[int, int]) -> Kind:
    """A node of this pack."""
    return Kind(sockets, widgets, outputs, size, package="echomimic")


MODEL, AUDIO, POSE = "ECHOMIMIC_MODEL", "ECHOMIMIC_AUDIO", "ECHOMIMIC_POSE"
KINDS = {
    "EchoMimicLoadModel": own(
        {},
        {
            "denoising_unet": "denoising_unet_acc.pth",
            "motion_module": "motion_module_acc.pth",
            "reference_unet": "reference_unet.pth",
            "pose_encoder": "pose_encoder.pth",
            "variant": "auto",
        },
        {"model": MODEL},
        (WIDE, 154),
    ),
    "EchoMimicLoadBundle": own(
        {},
        {"bundle": "demo_bundle.safetensors"},
        {"model": MODEL, "audio_encoder": "AUDIO_ENCODER", "vae": "VAE"},
        (WIDE, 110),
    ),
    "EchoMimicLoadAudioEncoder": own(
        {}, {"audio_encoder": "audio_processor/tiny.pt"}, {"audio_encoder": "AUDIO_ENCODER"}, (WIDE, 58)
    ),
    "EchoMimicEncodeAudio": own(
        {"audio": "AUDIO", "audio_encoder": "AUDIO_ENCODER"},
        {"fps": 24.0, "start": 0.0, "duration": 0.0, "normalize_loudness": False},
        {"speech": AUDIO, "frames": "INT", "audio": "AUDIO", "fps": "FLOAT"},
        (320, 190),
    ),
    "EchoMimicLoadPose": own({}, {"clip": "explaining", "fps": 24.0}, {"pose": POSE, "frames": "INT"}, (WIDE, 102)),
    "EchoMimicPoseFromKeypoints": own(
        {"keypoints": "POSE_KEYPOINT"}, {"fps": 24.0, "person": -1}, {"pose": POSE}, (320, 82)
    ),
    "EchoMimicPoseToKeypoints": own(
        {"pose": POSE},
        {"width": 768, "height": 768, "real_scores": True},
        {"keypoints": "POSE_KEYPOINT"},
        (320, 106),
    ),
    "EchoMimicFitPose": own(
        {"pose": POSE, "audio": AUDIO}, {"mode": "back_and_forth", "blend_seconds": 0.5}, {"pose": POSE}, (320, 102)
    ),
    "EchoMimicPreviewPose": own(
        {"pose": POSE, "image": "IMAGE?"},
        {"width": 512, "height": 512, "every": 6, "opacity": 1.0},
        {"images": "IMAGE"},
        (320, 150),
    ),
    "EchoMimicSampler": own(
        {"model": MODEL, "reference": "LATENT", "audio": AUDIO, "pose": f"{POSE}?"},
        {
            "seed": 0,
            "_control_after_generate": "randomize",
            "preset": "from model",
            "window_length": 12,
            "overlap": 3,
            "looped": True,
            "frames": 0,
            "pose_strength": 1.0,
            "audio_scale": 1.0,
            "resume": False,
        },
        {"latent": "LATENT"},
        (WIDE, 310),
    ),
    "EchoMimicDecode": own({"latent": "LATENT", "vae": "VAE"}, {}, {"images": "IMAGE"}, (WIDE, 46)),
    "EchoMimicSaveVideo": own(
        {"latent": "LATENT", "vae": "VAE", "audio": "AUDIO?"},
        {"fps": 24.0, "filename_prefix": "video/EchoMimic", "crf": 18},
        {},
        (WIDE, 500),
    ),
    "LoadImage": Kind({}, {"image": PORTRAIT, "_upload": "image"}, {"IMAGE": "IMAGE", "MASK": "MASK"}, (WIDE, 330)),
    "LoadAudio": Kind({}, {"audio": SPEECH, "_player": None, "_upload": None}, {"AUDIO": "AUDIO"}, (WIDE, 140)),
    "LoadVideo": Kind({}, {"file": "my_gestures.mp4", "_upload": "image"}, {"VIDEO": "VIDEO"}, (WIDE, 290)),
    "GetVideoComponents": Kind(
        {"video": "VIDEO"},
        {},
        {"images": "IMAGE", "audio": "AUDIO", "fps": "FLOAT", "bit_depth": "INT", "color_space": "COMBO"},
        (320, 106),
    ),
    "ImageScale": Kind(
        {"image": "IMAGE"},
        {"upscale_method": "lanczos", "width": 768, "height": 768, "crop": "center"},
        {"IMAGE": "IMAGE"},
        (320, 130),
    ),
    "VAELoader": Kind({}, {"vae_name": "vae-ft-mse-840000-ema-pruned.safetensors"}, {"VAE": "VAE"}, (WIDE, 58)),
    "VAEEncode": Kind({"pixels": "IMAGE", "vae": "VAE"}, {}, {"LATENT": "LATENT"}, (320, 46)),
    "VAEDecode": Kind({"samples": "LATENT", "vae": "VAE"}, {}, {"IMAGE": "IMAGE"}, (320, 46)),
    "CreateVideo": Kind(
        {"images": "IMAGE", "audio": "AUDIO?"}, {"fps": 24.0, "bit_depth": 8}, {"VIDEO": "VIDEO"}, (WIDE, 102)
    ),
    "SaveVideo": Kind(
        {"video": "VIDEO"},
        {"filename_prefix": "video/EchoMimic", "format": "auto", "codec": "auto"},
        {"video": "VIDEO"},
        (WIDE, 500),
    ),
    "PreviewImage": Kind({"images": "IMAGE"}, {}, {"images": "IMAGE"}, (320, 300)),
    "CheckpointLoaderSimple": Kind(
        {}, {"ckpt_name": ""}, {"MODEL": "MODEL", "CLIP": "CLIP", "VAE": "VAE"}, (WIDE, 100)
    ),
    "CLIPTextEncode": Kind({"clip": "CLIP"}, {"text": ""}, {"CONDITIONING": "CONDITIONING"}, (WIDE, 150)),
    "EmptyLatentImage": Kind({}, {"width": 1024, "height": 1024, "batch_size": 1}, {"LATENT": "LATENT"}, (WIDE, 110)),
    "KSampler": Kind(
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"},
        {
            "seed": 42,
            "_control_after_generate": "fixed",
            "steps": 30,
            "cfg": 6.0,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
        },
        {"LATENT": "LATENT"},
        (320, 264),
    ),
    "SDPoseKeypointExtractor": Kind(
        {"model": "MODEL", "vae": "VAE", "image": "IMAGE", "bboxes": "BOUNDING_BOX?"},
        {"batch_size": 16},
        {"keypoints": "POSE_KEYPOINT"},
        (320, 118),
    ),
    "SDPoseDrawKeypoints": Kind(
        {"keypoints": "POSE_KEYPOINT"},
        {
            "draw_body": True,
            "draw_hands": True,
            "draw_face": True,
            "draw_feet": False,
            "stick_width": 4,
            "face_point_size": 3,
            "score_threshold": 0.3,
            "draw_head": True,
        },
        {"IMAGE": "IMAGE"},
        (320, 226),
    ),
}
