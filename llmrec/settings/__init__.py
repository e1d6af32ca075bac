"""Settings of the jobs, a section a class."""
