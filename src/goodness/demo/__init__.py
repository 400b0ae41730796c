"""A page on this machine to try a network on: the answers, and apart from them the page."""
