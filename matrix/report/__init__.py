"""The report: results become a table in the terminal, a Markdown table, JSON and static pages.

``view`` turns results into plain data, everything else only writes that data down.
"""
