"""What ranks do together; only user of torch.distributed."""

from pipeline.collective.group import Collective, connect

__all__ = ["Collective", "connect"]
