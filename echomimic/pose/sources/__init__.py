"""Where poses come from and go to: files, keypoints of other packs, people in videos and pictures."""
