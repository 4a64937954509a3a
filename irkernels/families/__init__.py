"""Families of products: an equation, its papers' initialisers, and a module each."""
