"""Stand-in for the Seldon operator: SeldonDeployments as Deployments, Services and routes."""
