"""What others read: sessions and verdicts in the formats of the field.

otel.py  OpenTelemetry GenAI spans      ocsf.py  Detection Findings of OCSF
sarif.py findings of servers' sources
"""
