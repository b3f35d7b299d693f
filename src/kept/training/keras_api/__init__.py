"""What kept uses of Keras 3 and of tf_keras, public and private."""
