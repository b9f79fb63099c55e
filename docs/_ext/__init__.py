"""What the documentation needs of Sphinx beyond what Sphinx has; no part of the package."""
