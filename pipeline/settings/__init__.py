"""One settings tree for the whole program: ``tree`` holds it, ``load`` reads it from one YAML file and the environment."""
