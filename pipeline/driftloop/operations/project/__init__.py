"""The model project beside a spec: its code, images and columns, read and validated."""
