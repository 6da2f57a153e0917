"""Published bundles on disk."""
