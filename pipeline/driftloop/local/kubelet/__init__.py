"""Stand-in for the kubelet: pods of Deployments as processes, images as environments."""
