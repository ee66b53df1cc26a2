"""Their side: timm, torchvision and PIL, called as they are; the only importer of timm."""
