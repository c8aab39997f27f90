"""The fixtures of the catalog's tests."""

from catalog_project import project, reversed_listing

__all__ = ["project", "reversed_listing"]
