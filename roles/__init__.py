"""What each role of the system does, without Ray: every role runs and is tested in one process."""
