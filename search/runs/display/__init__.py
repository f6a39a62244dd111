"""How a run shows a person, a log or a script how far it is.

`opened.display_for` chooses: a live view on a terminal, lines in a log, one JSON object an event, or
nothing. What is seen is a record (`state`), and the view a pure function of it (`view`).
"""
