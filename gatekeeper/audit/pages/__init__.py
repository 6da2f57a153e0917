"""The report as a page of HTML on its own: no script, no file beside it, no text that is not escaped. Pure."""
