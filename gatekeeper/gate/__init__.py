"""The gate: the one way in. Identifies the device, decides, records, admits; keeps watch over the open sessions."""
