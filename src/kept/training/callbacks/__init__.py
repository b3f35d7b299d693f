"""The callbacks that users pass to fit, on Keras 3 and on tf_keras."""
