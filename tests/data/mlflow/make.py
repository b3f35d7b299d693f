"""Make the runs of this folder with the real client of MLflow; needs JAX and Keras.

python make.py TRACKING_FOLDER, once with mlflow-skinny 3.17.2 and once with 2.22.5. The first one
logs two models of one run, as MLflow 3 does. The second one logs a model at the end of the run, and
the checkpoints of MLflow's callback.
"""

import os
import sys

os.environ |= {"KERAS_BACKEND": "jax", "MLFLOW_ALLOW_FILE_STORE": "true"}

import keras
import mlflow
import numpy as np

mlflow.set_tracking_uri(f"file:{os.path.abspath(sys.argv[1])}")
mlflow.set_experiment("demo")
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
model.compile("sgd", "mse")
x = np.ones((4, 2), "float32")
with mlflow.start_run(run_name="small net") as run:
    mlflow.log_params({"lr": 0.01, "note": "it's: a 'text'"})
    mlflow.set_tag("team", "vision")
    for step in range(2):
        model.fit(x, x, verbose=0)
        model_id = None
        if mlflow.__version__ >= "3":
            model_id = mlflow.keras.log_model(model, name="net", step=step).model_id
            mlflow.log_metric("val_loss", 0.5 - step / 4, step=step, model_id=model_id)
        else:
            mlflow.log_metric("val_loss", 0.5 - step / 4, step=step)
    if mlflow.__version__ < "3":
        mlflow.keras.log_model(model, "model")
        from mlflow.tensorflow.callback import MlflowModelCheckpointCallback

        saves = MlflowModelCheckpointCallback("loss", save_best_only=False, save_freq="epoch")
        model.fit(x, x, epochs=2, verbose=0, callbacks=[saves])
print(run.info.run_id)
