"""The DALI graphs. They execute parameters and draw nothing; only importer of nvidia.dali."""
