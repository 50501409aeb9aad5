"""Reads prototxt: text with positions, the schema, files of every age, what a layer declares."""
