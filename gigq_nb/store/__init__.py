"""The file: the only place that speaks SQL."""
