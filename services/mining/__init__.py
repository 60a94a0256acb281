"""Mining: what people are asked, how urgently, and what follows from their decisions."""
