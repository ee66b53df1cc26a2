"""Triton kernels for MetaFormer's blocks; choice.py says, without Triton, when they compute."""
