"""What belongs to the package and is no module: policies, documents, and how a wheel comes to hold them."""
