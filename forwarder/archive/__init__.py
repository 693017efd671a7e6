"""Where sealed objects live."""
