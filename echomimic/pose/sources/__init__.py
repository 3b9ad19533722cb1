"""Sources of poses: files, keypoints of other packs, people in videos and pictures."""
