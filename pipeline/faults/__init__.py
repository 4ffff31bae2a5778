"""What keeps a call alive when a stage fails or stalls, or nobody says anything."""
