"""How the next model is made: at a site each night, and once in the factory."""
