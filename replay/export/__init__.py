"""Files to hand on: reproductions, slices and edited logs."""
