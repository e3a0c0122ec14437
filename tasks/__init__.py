"""What Prefect adds to the models: retry, cache, concurrency, name, tracking.

collect.py   read and check data          schedule.py  place work
predict.py   fit, forecast, calibrate     verify.py    check a plan against its rules
evaluate.py  simulate and score policies  track/       the one place that knows MLflow
execute.py   carry a plan out             monitor.py   judge forecasts afterwards
register.py  champion, challenger        contracts.py what the steps hand on
cache.py     results kept by content      runner.py    threads or Dask
"""

from models.settings import apply_environment

# Prefect and MLflow read their environment when they are imported, so it is set here, in
# the one package that everything importing them goes through.
apply_environment()
