"""The node types that the workflows use: this pack's, and ComfyUI's own as of 0.33."""

from __future__ import annotations

from typing import Any

from workflow_nodes import Choice, Kind

PORTRAIT, SPEECH = "echomimic_portrait.png", "echomimic_speech.wav"
MARKS = [f"{name}_{axis}" for name in ("nose", "neck", "right_shoulder", "left_shoulder", "wrist") for axis in "xy"]
# All nodes are as wide, so that columns stand straight. Nodes that show a video have room for a square one.
WIDE = 340


# Of the sample portrait, in per cents: x and y of nose, neck, right shoulder, left shoulder and a wrist.
PORTRAIT_MARKS = (50.3, 22.7, 49.9, 49.1, 31.4, 48.9, 68.4, 48.9, 36.3, 89.2)


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
    # What its list says where there is no LoRA file yet.
    "EchoMimicLoadLora": own(
        {"model": MODEL}, {"lora": "(none found)", "strength": 1.0}, {"model": MODEL, "report": "STRING"}, (WIDE, 102)
    ),
    "EchoMimicEncodeAudio": own(
        {"audio": "AUDIO", "audio_encoder": "AUDIO_ENCODER"},
        {"fps": 24.0, "start": 0.0, "duration": 0.0, "normalize_loudness": False},
        {"speech": AUDIO, "frames": "INT", "audio": "AUDIO", "fps": "FLOAT"},
        (WIDE, 190),
    ),
    "EchoMimicLoadPose": own({}, {"clip": "explaining", "fps": 24.0}, {"pose": POSE, "frames": "INT"}, (WIDE, 102)),
    "EchoMimicPoseFromKeypoints": own(
        {"keypoints": "POSE_KEYPOINT"}, {"fps": 24.0, "person": -1}, {"pose": POSE}, (WIDE, 82)
    ),
    "EchoMimicPoseToKeypoints": own(
        {"pose": POSE},
        {"width": 768, "height": 768, "real_scores": True},
        {"keypoints": "POSE_KEYPOINT"},
        (WIDE, 106),
    ),
    "EchoMimicFitPose": own(
        {"pose": POSE, "audio": AUDIO}, {"mode": "back_and_forth", "blend_seconds": 0.5}, {"pose": POSE}, (WIDE, 102)
    ),
    "EchoMimicPreviewPose": own(
        {"pose": POSE, "image": "IMAGE?", "audio": "AUDIO?"},
        {"view": Choice("frames", {"width": 512, "height": 512, "every": 6, "opacity": 1.0})},
        {"images": "IMAGE"},
        (WIDE, 198),
    ),
    "EchoMimicExtractPose": own(
        {"video": "VIDEO,IMAGE"},
        {"fps": 24.0, "person": -1, "device": "auto"},
        {"pose": POSE, "frames": "INT"},
        (WIDE, 130),
    ),
    "EchoMimicGenerateGestures": own(
        {"audio": "AUDIO", "speech": f"{AUDIO}?"},
        {
            "energy": 0.5,
            "expressiveness": 0.5,
            "seed": 0,
            "_control_after_generate": "fixed",
            "clips": [],
            "mirrored": True,
            "fps": 24.0,
        },
        {"pose": POSE, "frames": "INT"},
        (WIDE, 250),
    ),
    "EchoMimicEditPose": own(
        {"pose": POSE, "then": f"{POSE}?"},
        {
            "edit": Choice(
                "repair",
                {
                    "score_floor": 0.3,
                    "swaps": True,
                    "outliers": True,
                    "fill_gaps": 0.5,
                    "smoothing": 0.5,
                    "fade": 0.15,
                },
            )
        },
        {"pose": POSE, "frames": "INT"},
        (WIDE, 222),
    ),
    "EchoMimicMarkPortrait": own(
        {"image": "IMAGE"},
        {
            "nose_x": 50.0,
            "nose_y": 20.5,
            "neck_x": 50.0,
            "neck_y": 48.0,
            "right_shoulder_x": 32.0,
            "right_shoulder_y": 48.0,
            "left_shoulder_x": 68.0,
            "left_shoulder_y": 48.0,
            "wrist_x": 34.0,
            "wrist_y": 86.5,
        },
        {"portrait": POSE, "preview": "IMAGE"},
        (WIDE, 300),
    ),
    "EchoMimicRetargetPose": own(
        {"pose": POSE, "portrait": POSE, "image": "IMAGE?"},
        {"method": "retarget", "proportions": 1.0, "scale": 1.0, "right": 0.0, "down": 0.0, "pictures": 6},
        {"pose": POSE, "overlay": "IMAGE", "score": "FLOAT", "report": "STRING"},
        (WIDE, 246),
    ),
    "EchoMimicAlignPortrait": own(
        {"image": "IMAGE", "portrait": POSE, "pose": POSE},
        {"width": 768, "height": 768, "scale": 1.0, "right": 0.0, "down": 0.0},
        {"image": "IMAGE", "portrait": POSE, "crop_box": "BOUNDING_BOX", "report": "STRING"},
        (WIDE, 222),
    ),
    "EchoMimicFitPortrait": own(
        {"image": "IMAGE", "portrait": f"{POSE}?"},
        {
            "width": 768,
            "height": 768,
            "framing": "auto",
            "fill": "blur",
            "scale": 1.0,
            "right": 0.0,
            "down": 0.0,
            "marks": Choice("none"),
        },
        {"image": "IMAGE", "portrait": POSE, "crop_box": "BOUNDING_BOX", "preview": "IMAGE", "report": "STRING"},
        (WIDE, 310),
    ),
    "EchoMimicToModel": own(
        {"model": MODEL}, {"window_length": 12, "overlap": 3, "looped": True}, {"model": "MODEL"}, (WIDE, 130)
    ),
    "EchoMimicFromModel": own({"model": "MODEL"}, {}, {"model": MODEL}, (WIDE, 46)),
    "EchoMimicConditioning": own(
        {"model": MODEL, "reference": "LATENT", "audio": AUDIO, "pose": f"{POSE}?"},
        {"frames": 0, "pose_strength": 1.0, "audio_scale": 1.0},
        {"positive": "CONDITIONING", "negative": "CONDITIONING", "latent": "LATENT"},
        (WIDE, 190),
    ),
    "EchoMimicSchedule": own({}, {"steps": 6}, {"sampler": "SAMPLER", "sigmas": "SIGMAS"}, (WIDE, 90)),
    "EchoMimicRetakeFrames": own({"latent": "LATENT"}, {"first": 100, "last": 150}, {"latent": "LATENT"}, (WIDE, 82)),
    "EchoMimicTrainingClips": own(
        {"video": "VIDEO,IMAGE", "pose": POSE, "speech": AUDIO, "vae": "VAE", "clips": "ECHOMIMIC_CLIPS?"},
        {"size": 512},
        {"clips": "ECHOMIMIC_CLIPS"},
        (WIDE, 150),
    ),
    "EchoMimicClipLatent": own({"latent": "LATENT"}, {}, {"latent": "LATENT"}, (WIDE, 46)),
    "EchoMimicPasteBack": own(
        {"images": "IMAGE", "picture": "IMAGE", "crop_box": "BOUNDING_BOX", "mask": "MASK?"},
        {"feather": 0.06},
        {"images": "IMAGE"},
        (WIDE, 106),
    ),
    "EchoMimicSavePose": own(
        {"pose": POSE},
        {"filename_prefix": "poses/EchoMimic", "format": "clip (.safetensors)"},
        {"path": "STRING"},
        (WIDE, 106),
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
            "fast": "exact",
        },
        {"latent": "LATENT"},
        (WIDE, 358),  # as the frontend makes it
    ),
    "EchoMimicDecode": own({"latent": "LATENT", "vae": "VAE"}, {}, {"images": "IMAGE"}, (WIDE, 46)),
    "EchoMimicSaveVideo": own(
        {"latent": "LATENT", "vae": "VAE", "audio": "AUDIO?"},
        {"fps": 24.0, "filename_prefix": "video/EchoMimic", "crf": 18},
        {"video": "VIDEO"},
        (WIDE, 510),
    ),
    "LoadImage": Kind({}, {"image": PORTRAIT, "_upload": "image"}, {"IMAGE": "IMAGE", "MASK": "MASK"}, (WIDE, 330)),
    "LoadAudio": Kind({}, {"audio": SPEECH, "_player": None, "_upload": None}, {"AUDIO": "AUDIO"}, (WIDE, 140)),
    "LoadVideo": Kind({}, {"file": "echomimic_driving.mp4", "_upload": "image"}, {"VIDEO": "VIDEO"}, (WIDE, 415)),
    "GetVideoComponents": Kind(
        {"video": "VIDEO"},
        {},
        {"images": "IMAGE", "audio": "AUDIO", "fps": "FLOAT", "bit_depth": "INT", "color_space": "COMBO"},
        (WIDE, 106),
    ),
    "ImageScale": Kind(
        {"image": "IMAGE"},
        {"upscale_method": "lanczos", "width": 768, "height": 768, "crop": "center"},
        {"IMAGE": "IMAGE"},
        (WIDE, 130),
    ),
    "VAELoader": Kind({}, {"vae_name": "vae-ft-mse-840000-ema-pruned.safetensors"}, {"VAE": "VAE"}, (WIDE, 58)),
    "VAEEncode": Kind({"pixels": "IMAGE", "vae": "VAE"}, {}, {"LATENT": "LATENT"}, (WIDE, 46)),
    "VAEDecode": Kind({"samples": "LATENT", "vae": "VAE"}, {}, {"IMAGE": "IMAGE"}, (WIDE, 46)),
    "CreateVideo": Kind(
        {"images": "IMAGE", "audio": "AUDIO?"}, {"fps": 24.0, "bit_depth": 8}, {"VIDEO": "VIDEO"}, (WIDE, 102)
    ),
    "SaveVideo": Kind(
        {"video": "VIDEO"},
        {"filename_prefix": "video/EchoMimic", "format": "auto", "codec": "auto"},
        {"video": "VIDEO"},
        (WIDE, 438),
    ),
    "PreviewAny": Kind({"source": "*"}, {}, {"STRING": "STRING"}, (WIDE, 202)),
    "PreviewImage": Kind({"images": "IMAGE"}, {}, {"images": "IMAGE"}, (WIDE, 266)),
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
        (WIDE, 264),
    ),
    "RandomNoise": Kind({}, {"noise_seed": 0, "_control_after_generate": "fixed"}, {"NOISE": "NOISE"}, (WIDE, 90)),
    "CFGGuider": Kind(
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING"},
        {"cfg": 1.0},
        {"GUIDER": "GUIDER"},
        (WIDE, 110),
    ),
    "SamplerCustomAdvanced": Kind(
        {"noise": "NOISE", "guider": "GUIDER", "sampler": "SAMPLER", "sigmas": "SIGMAS", "latent_image": "LATENT"},
        {},
        {"output": "LATENT", "denoised_output": "LATENT"},
        (WIDE, 130),
    ),
    "EchoMimicTrainAvatar": own(
        {"model": MODEL, "clips": "ECHOMIMIC_CLIPS", "vae": "VAE"},
        {
            "steps": 500,
            "rank": 16,
            "learning_rate": 1e-4,
            "frames": 12,
            "preview_every": 100,
            "seed": 0,
            "_control_after_generate": "fixed",
        },
        {"lora": "LORA_MODEL", "loss_map": "LOSS_MAP", "steps": "INT"},
        (WIDE, 320),
    ),
    "SaveLoRA": Kind({"lora": "LORA_MODEL"}, {"prefix": "loras/EchoMimic_avatar", "steps": 0}, {}, (WIDE, 110)),
    "LossGraphNode": Kind({"loss": "LOSS_MAP"}, {"filename_prefix": "loss_graph"}, {}, (WIDE, 300)),
    "LoraModelLoader": Kind(
        {"model": "MODEL", "lora": "LORA_MODEL"},
        {"strength_model": 1.0, "bypass": False},
        {"model": "MODEL"},
        (WIDE, 110),
    ),
    "SolidMask": Kind({}, {"value": 1.0, "width": 512, "height": 512}, {"MASK": "MASK"}, (WIDE, 106)),
    "MaskComposite": Kind(
        {"destination": "MASK", "source": "MASK"},
        {"x": 0, "y": 0, "operation": "multiply"},
        {"MASK": "MASK"},
        (WIDE, 126),
    ),
    "InvertMask": Kind({"mask": "MASK"}, {}, {"MASK": "MASK"}, (WIDE, 30)),
    "AudioMerge": Kind({"audio1": "AUDIO", "audio2": "AUDIO"}, {"merge_method": "add"}, {"AUDIO": "AUDIO"}, (WIDE, 78)),
    "SaveLatent": Kind({"samples": "LATENT"}, {"filename_prefix": "latents/EchoMimic"}, {}, (WIDE, 70)),
    "SDPoseKeypointExtractor": Kind(
        {"model": "MODEL", "vae": "VAE", "image": "IMAGE", "bboxes": "BOUNDING_BOX?"},
        {"batch_size": 16},
        {"keypoints": "POSE_KEYPOINT"},
        (WIDE, 118),
    ),
}
