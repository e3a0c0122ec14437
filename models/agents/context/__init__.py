"""What a model is sent: a view of the log.

view.py call and result together, branches, condensations
"""

from models.agents.context.view import View

__all__ = ["View"]
