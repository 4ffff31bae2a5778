"""Starts, watches and stops the engines that are processes of their own (``engines`` in the settings)."""
