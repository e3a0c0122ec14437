"""Domain engines in plain Python: no Prefect, no MLflow, no Dask; I/O comes in as arguments."""
