"""The same record for other eyes: CSV, OCSF, ECS, CEF. Views, never the record: the log's own line is that. Pure."""
