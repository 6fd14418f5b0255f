"""The figures that this pack promises, measured: `python -m benchmarks [AREA ...] [--json]`."""
