"""An installation on one machine: its roles, their processes, and who keeps them alive."""
