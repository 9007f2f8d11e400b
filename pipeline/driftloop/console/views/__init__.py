"""The contents of each page: plain data of the snapshot, one module per page. Nothing here asks anybody."""
