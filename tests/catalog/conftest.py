"""The fixtures of the catalog's tests."""

from catalog_project import listing_order, project

__all__ = ["listing_order", "project"]
