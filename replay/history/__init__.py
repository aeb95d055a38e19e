"""Reading the results of a fold from the workspace: states, failures, calls and what else it reported."""
