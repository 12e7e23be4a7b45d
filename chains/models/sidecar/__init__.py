"""A model server on each executor, shared by its tasks."""
