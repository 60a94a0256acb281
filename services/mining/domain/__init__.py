"""What mining decides. Pure: the same record, the same answer."""
