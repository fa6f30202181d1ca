"""The only Python that imports the compiled module; one thin module for each family above it."""
