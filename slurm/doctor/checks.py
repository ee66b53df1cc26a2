"""All checks, in the order in which they are told; and the quick ones of a training's start."""

from slurm.doctor import clocks, devices, network, services, storage, versions
from slurm.doctor.examining import Check

_INSTALL = "install the lock: `make`, or `pip install -r requirements.lock`"
_DECODER = "see the lines of driver and GPUs; if they are well, " + _INSTALL
_DISK = "see the mount (`findmnt`, `ls`) on that node; the file server may be down"

CHECKS = (
    Check("python", versions.python, _INSTALL),
    Check("packages", versions.packages, _INSTALL),
    Check("CUDA builds", versions.cuda_builds, _INSTALL),
    Check("driver", versions.driver, "see `nvidia-smi` on that node"),
    Check("GPUs", devices.gpus, "see `nvidia-smi` on that node; exclude it if a GPU is lost"),
    Check("torch", devices.torch_device, _INSTALL, limit_s=90, is_isolated=True),
    Check("decoding", devices.decoding, _DECODER, limit_s=60, is_isolated=True),
    Check("shards", storage.shards, _DISK, limit_s=30),
    Check("staging", storage.staging_space, _DISK),
    Check("runs folder", storage.runs_writable, _DISK),
    Check("room for runs", storage.runs_room, _DISK),
    Check("shared memory", storage.shared_memory, "see `df -h /dev/shm` on that node"),
    Check("file clock", clocks.file_server_clock, _DISK),
    Check("host name", network.host_name, "see `getent hosts NAME`: the name server is slow"),
    Check("first node", network.first_node, "see `getent hosts NAME`: the name server is slow"),
    Check("interface", network.chosen_interfaces, "see `ip address` on that node"),
    Check("MLflow", services.mlflow, "see MLFLOW_TRACKING_URI and tracking.uri"),
    Check("Slurm", services.slurm_commands, "see `scontrol ping`: slurmctld is slow", limit_s=25),
)

PREFLIGHT = (
    Check("driver", versions.driver, "see `nvidia-smi` on that node"),
    Check("GPUs", devices.gpus, "see `nvidia-smi` on that node; exclude it if a GPU is lost"),
    Check("shared memory", storage.shared_memory, "see `df -h /dev/shm` on that node"),
    Check("shards", storage.shards_readable, _DISK, limit_s=30),
    Check("runs folder", storage.runs_writable, _DISK),
    Check("host name", network.host_name, "see `getent hosts NAME`: the name server is slow"),
    Check("first node", network.first_node, "see `getent hosts NAME`: the name server is slow"),
    Check("interface", network.chosen_interfaces, "see `ip address` on that node"),
    Check("file clock", clocks.file_server_clock, _DISK),
)
