"""How each network is trained and measured on scenes."""
