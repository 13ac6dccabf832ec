"""The graphical abstract."""
