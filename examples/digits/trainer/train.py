"""A small convolutional network for 8x8 digits, trained with TensorFlow and written as ONNX."""

import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from digits import BRIGHTEST, CLASSES, PIXELS, read_all
from stable import rewrite_model

BATCH = 32
HELD_BACK = 0.15


class Log(keras.callbacks.Callback):
    """One JSON line an epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        print(
            json.dumps(
                {
                    "epoch": epoch,
                    **{name: round(float(value), 4) for name, value in (logs or {}).items()},
                }
            ),
            flush=True,
        )


def network() -> keras.Model:
    """Takes raw pixels (n, 64) as they arrive in a request, so scaling can't be forgotten when serving."""
    return keras.Sequential(
        [
            keras.Input((PIXELS,), name="x"),
            keras.layers.Rescaling(1 / BRIGHTEST),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu", padding="same"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ]
    )


def train(epochs: int, learning_rate: float, data: Path, out: Path) -> dict[str, float]:
    """Train on every batch below `data`, old and new alike; write `out/model.onnx`."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(7)
    x, y = read_all(data)
    order = np.random.default_rng(7).permutation(len(x))
    held_back, rest = np.split(order, [int(len(x) * HELD_BACK)])
    model = network()
    model.compile(
        keras.optimizers.Adam(learning_rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        x[rest],
        y[rest],
        batch_size=BATCH,
        epochs=epochs,
        validation_data=(x[held_back], y[held_back]),
        callbacks=[Log()],
        verbose=0,
    ).history
    model.export(out / "model.onnx", format="onnx", verbose=False)
    rewrite_model(out / "model.onnx")
    return {
        "loss": float(history["loss"][-1]),
        "train_accuracy": float(history["accuracy"][-1]),
        "validation_accuracy": float(history["val_accuracy"][-1]),
    }
