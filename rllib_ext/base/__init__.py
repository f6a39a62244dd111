"""What every other wing stands on: files replaced whole, hints in messages, how an extra is installed.

Imports nothing of this project.
"""
