"""Stand-in for Flux: reconciles the cluster repository, and refuses what no stand-in follows."""
