"""RLModules: finding their critic, running them on examples, shrinking and comparing them."""
