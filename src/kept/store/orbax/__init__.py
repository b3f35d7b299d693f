"""Folders of Orbax: their finished steps become versions."""
