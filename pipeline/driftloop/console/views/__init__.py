"""Views: plain data of the snapshot, one module per page. Nothing here asks anybody."""
