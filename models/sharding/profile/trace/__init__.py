"""Traces of a profiler: what ran when on each device.

events.py  planes, lines, events            xspace.py   *.xplane.pb, read without a library
chrome.py  *.trace.json                     timeline.py ops of one step, collectives, what is hidden
profile.py a trace -> Profile
"""

from models.sharding.profile.trace.profile import profile_of_trace

__all__ = ["profile_of_trace"]
