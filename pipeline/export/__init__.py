"""Export: a run's weights as a folder that timm loads, with a model card, ONNX and speeds."""
