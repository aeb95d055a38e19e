"""Reading what a fold left in the workspace."""
