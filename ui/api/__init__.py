"""What the page's clients ask the server: routes, and the shapes of their answers."""
