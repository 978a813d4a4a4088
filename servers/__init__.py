"""The four servers of the 0711 platform. They import `shared` and never each other."""
