"""The adapters of the ports: one file each; ``address`` opens them by their addresses."""
