"""What the two studies share, the experiment and the diet: training, checkpoints, run folders, verdicts, pages."""
