"""What stands behind each `loom` command; heavy imports stay inside the functions.

run.py    loom run           bench.py   loom bench       up.py      loom up, loom down
demo.py   loom demo          show.py    loom list, runs, sync   doctor.py  loom doctor
agent.py  loom agent
"""
