"""Which of the method's parts are worth something: the same run with one part changed at a time."""
