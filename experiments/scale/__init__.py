"""What a sweep costs beside its jobs, and how that grows."""
