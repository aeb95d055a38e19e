"""Files to share: reproductions of a finding, slices of the log, and logs of edited timelines."""
