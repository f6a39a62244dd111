"""Writes the pages that the site is built of: `python -m docs.generate`."""

from docs.generate.pages import PAGES, write_pages

if __name__ == "__main__":
    write_pages(PAGES)
