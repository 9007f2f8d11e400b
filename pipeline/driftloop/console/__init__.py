"""`driftloop console`: pages where the loop can be watched and steered."""
