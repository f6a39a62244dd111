"""What an RLModule computes: its critic, how it is run on examples, how it is shrunk and compared."""
