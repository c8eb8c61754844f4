"""Where rows are kept: one module for each backend, all proven by one contract suite."""
