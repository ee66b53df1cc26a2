"""The networks: the paper's MetaFormer, and timm's models by name."""
