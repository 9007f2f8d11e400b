"""What the containers of the rendered workflows run, one file per step; `driftloop step` names them."""
