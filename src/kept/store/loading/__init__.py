"""Loading models and weights out of versions into Keras; see load_model.py."""
