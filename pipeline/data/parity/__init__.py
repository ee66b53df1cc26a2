"""Proof that the input pipeline does what timm, PIL and torchvision do: pixels and odds."""
