"""Stand-in for Istio: VirtualServices as routes of one Envoy."""
