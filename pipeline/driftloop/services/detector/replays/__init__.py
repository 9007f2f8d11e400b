"""Rows of files through the code that judges requests, as `driftloop backtest` asks for it."""
