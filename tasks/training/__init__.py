"""Post-training in noise: EchoDistill and CAAD on `transformers.Trainer`, easy curriculum stages first."""
