"""torch's operations in terms of a program's: what the trace of a module may hold."""
