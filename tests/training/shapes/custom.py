"""Shapes whose step or loss the user writes: several optimizers, averages, a queue, a teacher."""

from __future__ import annotations

import keras
from keras import ops

from .base import BATCH, ROWS, WIDTH, Custom, Shape, built, compiled, features, labels, mlp

_MSE = keras.losses.MeanSquaredError()


def _target():
    x = features()
    return x, x[:, :1].copy()


class TwoOptimizers(Custom):
    """One optimizer for the body and one for the head, in a dict."""

    def __init__(self):
        super().__init__()
        self.parts = {"body": mlp(WIDTH, 5), "head": mlp(5, 1)}

    def call(self, x):
        return self.parts["head"](self.parts["body"](x))

    def compile(self, optimizers, **options):
        super().compile(**options)
        self.optimizers = {
            name: self.prepared(optimizer, self.parts[name].trainable_variables)
            for name, optimizer in optimizers.items()
        }

    def step(self, data):
        x, y = data
        loss = None
        for name, optimizer in self.optimizers.items():
            variables = self.parts[name].trainable_variables
            loss = self.descend(optimizer, variables, lambda: _MSE(y, self(x)))
        return {"loss": loss}


def two_optimizers():
    model = TwoOptimizers()
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.9)
    sgd = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
    return built(compiled(model, {"body": sgd, "head": keras.optimizers.Adam(0.01)}))


class GAN(Custom):
    """The networks and the optimizers in lists; the first optimizer is that of compile, too."""

    def __init__(self):
        super().__init__()
        drop = keras.layers.Dropout(0.3)
        self.networks = [mlp(2, 5, WIDTH), keras.Sequential([mlp(WIDTH, 5), drop, mlp(5, 1)])]
        self.seeds = keras.random.SeedGenerator(5)

    def call(self, x):
        return self.networks[1](x)

    def compile(self, optimizers, **options):
        super().compile(optimizers[0], **options)
        optimizers[0].build(self.networks[0].trainable_variables)
        second = self.prepared(optimizers[1], self.networks[1].trainable_variables)
        self.several = [optimizers[0], second]

    def step(self, data):
        real = data[0] if isinstance(data, tuple) else data
        fake, critic = self.networks
        noise = keras.random.normal((BATCH, 2), seed=self.seeds)
        losses = {
            "g": lambda: -ops.mean(critic(fake(noise), training=True)),
            "d": lambda: ops.mean(critic(fake(noise), training=True)) - ops.mean(critic(real)),
        }
        pairs = zip(losses.items(), self.networks, self.several, strict=True)
        return {
            name: self.descend(optimizer, network.trainable_variables, loss)
            for (name, loss), network, optimizer in pairs
        }


def gan():
    return built(compiled(GAN(), [keras.optimizers.RMSprop(0.01), keras.optimizers.AdamW(0.01)]))


class MeanTeacher(Custom):
    """The average of the student is a second model, and its copy makes the targets."""

    def __init__(self):
        super().__init__()
        norm = keras.layers.BatchNormalization()
        self.student = keras.Sequential([mlp(WIDTH, 5), norm, mlp(5, 1)])
        self.teacher = keras.models.clone_model(self.student)
        self.teacher.trainable = False
        self.count = self.add_weight(shape=(), dtype="int32", trainable=False, name="count")

    def call(self, x):
        return self.teacher(x)

    def step(self, data):
        x, y = data
        wanted = ops.stop_gradient(self.teacher(x)) + y
        loss = self.descend(
            self.optimizer,
            self.student.trainable_variables,
            lambda: _MSE(wanted, self.student(x, training=True)),
        )
        self.count.assign_add(1)
        decay = ops.minimum(0.9, ops.cast(self.count, "float32") / 10)
        for mean, weight in zip(self.teacher.weights, self.student.weights, strict=True):
            mean.assign(decay * mean + (1 - decay) * weight)
        return {"loss": loss}


def mean_teacher():
    return built(compiled(MeanTeacher(), keras.optimizers.Adam(0.01, clipnorm=1.0)))


class Contrastive(Custom):
    """A queue of features, a probe with an optimizer of its own, a temperature that is trained."""

    def __init__(self):
        super().__init__()
        self.augment = keras.layers.GaussianNoise(0.3, seed=2)
        self.encoder, self.head, self.probe = mlp(WIDTH, 5), mlp(5, 3), mlp(5, 3)
        self.temperature = self.add_weight(shape=(), initializer="ones", name="temperature")
        self.queue = self.add_weight(
            shape=(8, 3), initializer="random_normal", trainable=False, name="queue"
        )
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="p_acc")

    def call(self, x):
        return self.probe(self.encoder(x))

    def compile(self, optimizer, probe_optimizer, **options):
        super().compile(optimizer, **options)
        optimizer.build(self.trained())
        self.probe_optimizer = self.prepared(probe_optimizer, self.probe.trainable_variables)

    def trained(self):
        both = self.encoder.trainable_variables, self.head.trainable_variables
        return [*both[0], *both[1], self.temperature]

    def contrastive_loss(self, x):
        one, other = (self.head(self.encoder(self.augment(x, training=True))) for _ in range(2))
        keys = ops.concatenate([other, self.queue])
        likeness = ops.matmul(one, ops.transpose(keys)) / self.temperature
        own = ops.arange(BATCH)
        return ops.mean(keras.losses.sparse_categorical_crossentropy(own, likeness, True)), other

    def step(self, data):
        x, y = data
        loss = self.descend(self.optimizer, self.trained(), lambda: self.contrastive_loss(x)[0])
        known = self.encoder(x)
        probe_loss = self.descend(
            self.probe_optimizer,
            self.probe.trainable_variables,
            lambda: ops.mean(keras.losses.sparse_categorical_crossentropy(y, self.probe(known))),
        )
        self.accuracy.update_state(y, self.probe(known))
        self.queue.assign(ops.concatenate([self.queue[BATCH:], self.head(known)]))
        return {"loss": loss, "probe": probe_loss, "p_acc": self.accuracy.result()}


def contrastive():
    adam = keras.optimizers.Adam(0.02)
    return built(compiled(Contrastive(), keras.optimizers.Nadam(0.01), adam))


class Distiller(keras.Model):
    """A frozen teacher; the loss is that of compute_loss, as Keras 3 has it."""

    def __init__(self, teacher, student):
        super().__init__()
        self.teacher, self.student = teacher, student
        self.teacher.trainable = False

    def call(self, x, training=None):
        return self.student(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        soft = ops.softmax(self.teacher(x, training=False) / 3)
        loss = super().compute_loss(x, y, y_pred, sample_weight)
        return 0.1 * loss + ops.mean(keras.losses.kl_divergence(soft, ops.softmax(y_pred / 3)))


def distillation():
    drop = keras.layers.Dropout(0.4)
    student = keras.Sequential([mlp(WIDTH, 5), drop, keras.layers.Dense(3)])
    model = Distiller(mlp(WIDTH, 8, 3), student)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return built(compiled(model, "adam", loss, metrics=["accuracy"]))


class Diffusion(keras.Model):
    """A step of time for each row, drawn by a layer; the target is the noise that was added."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(9)
        self.of_time = keras.layers.Embedding(10, 3)
        self.network = mlp(WIDTH + 3, 6, WIDTH)

    def build(self, shape):
        self.of_time.build((None,))
        super().build(shape)

    def call(self, x, training=False):
        time = keras.random.randint((ops.shape(x)[0],), 0, 10, seed=self.seeds)
        noise = keras.random.normal(ops.shape(x), seed=self.seeds)
        rate = ops.cast(time, x.dtype)[:, None] / 10
        noisy = (1 - rate) * x + rate * noise
        found = self.network(ops.concatenate([noisy, self.of_time(time)], axis=1))
        self.add_loss(ops.mean((found - noise) ** 2))
        return noisy - rate * found


def diffusion():
    model = Diffusion()
    model(features()[:BATCH])
    schedule = keras.optimizers.schedules.CosineDecay(0.02, 12, warmup_steps=3, warmup_target=0.03)
    return compiled(model, keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=0.8))


SHAPES = {
    "two_optimizers": Shape(two_optimizers, _target),
    "gan": Shape(gan, ending=".keras", is_rare=True),
    "ema_of_a_model": Shape(mean_teacher, _target),
    "contrastive": Shape(contrastive, lambda: (features(), labels())),
    "distillation": Shape(distillation, lambda: (features(), labels()), is_rare=True),
    "diffusion": Shape(diffusion, is_rare=True),
}
assert ROWS == 4 * BATCH
