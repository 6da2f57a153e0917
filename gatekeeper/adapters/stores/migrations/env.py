"""What Alembic runs: the migrations on the connection that `migrate` hands over, inside its transaction."""

from alembic import context

from gatekeeper.adapters.stores.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
