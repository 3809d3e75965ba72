"""Real servers and processes for the tests: to start, stop, pause, kill and cut off, and never to leave behind."""
