"""What implements `ports`: stores and sinks. The only floor that names databases."""
