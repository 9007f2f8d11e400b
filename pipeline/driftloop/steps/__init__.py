"""Steps of the rendered workflows, one file each; containers run them as `driftloop step NAME`."""
