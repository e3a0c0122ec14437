"""All systems at work for each other: what is asked of them, and one page of what they did.

config.py  who answers, who votes, how much    stages.py  what each system did for the others
page.py    the page
"""
