"""Reports of a run: what is shown and drawn while it goes on, and on what machine it was made."""
