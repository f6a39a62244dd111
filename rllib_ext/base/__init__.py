"""Tools for all other wings: files replaced whole, hints in messages, how an extra is installed.

Imports nothing of this project.
"""
