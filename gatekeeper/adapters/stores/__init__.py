"""The device registry on a database: SQLAlchemy Core, migrated by Alembic.

* `engine`     opens the database, and says what a transaction is here; faults become `ports.devices.Unavailable`
* `tables`     the tables;  `migrate`  brings a database up to them
* `codec`      an app list as text and back;  `reading`  rows -> postures
* `plan`       reports + what is on record -> the rows to write;  `registry`  the port `ports.registry`
* `directory`  the port `ports.devices`: a bounded `cache` kept true by the feed of changes

SQLite is the database today. What only SQLite has (`BEGIN IMMEDIATE`, `PRAGMA`) is in `engine` and in one method of
`directory`; everything else is Core that PostgreSQL reads as well.
"""
