"""Training: data, conditions, losses and the loop. Its packages are extras, see requirements-train.txt."""
