"""Ground floor of the local runtime: state folder, addresses, kinds, processes."""
