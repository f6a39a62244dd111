"""Shows the progress of a run to a user, a log or a script.

`opened.display_for` chooses between a live view on a terminal, lines in a log, and nothing; `json_lines`
writes one JSON object per event. The view is a pure function (`view`) of a record (`state`).
"""
