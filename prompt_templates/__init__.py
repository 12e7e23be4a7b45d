"""The prompt templates, as files `name@version.md`; a released version is never edited."""
