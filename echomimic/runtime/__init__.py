"""What a render runs on: device, memory, plan, checkpoints, several processes, the compiler."""
