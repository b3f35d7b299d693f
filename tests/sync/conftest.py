"""What couriers show to the user."""

import pytest

from kept import messages


@pytest.fixture
def shown(monkeypatch):
    """Collect the messages instead of printing them."""
    texts = []
    monkeypatch.setattr(messages, "print_text", texts.append)
    return texts
