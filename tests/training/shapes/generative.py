"""The generative examples of keras-io, written anew in small, on made-up data."""

from __future__ import annotations

import keras
from keras import ops

from .base import BATCH, FRAMEWORK, WIDTH, Custom, Shape, compiled, gradient_at, mlp

LATENT = 2
_BINARY = keras.losses.BinaryCrossentropy(from_logits=True)


class DCGAN(Custom):
    """Two networks, an optimizer for each; Keras's own optimizer is never used.

    It has no call(), so TensorFlow trains it unbuilt.
    """

    def __init__(self):
        super().__init__()
        self.discriminator = mlp(WIDTH, 5, 1, name="discriminator")
        self.generator = mlp(LATENT, 5, WIDTH, name="generator")
        self.seed_generator = keras.random.SeedGenerator(1337)
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.g_loss = keras.metrics.Mean(name="g_loss")
        self.built = FRAMEWORK != "tensorflow"

    def compile(self, d_optimizer, g_optimizer, **options):
        super().compile(**options)
        d_variables, g_variables = (
            self.discriminator.trainable_variables,
            self.generator.trainable_variables,
        )
        self.d_optimizer = self.prepared(d_optimizer, d_variables)
        self.g_optimizer = self.prepared(g_optimizer, g_variables)

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def noise(self):
        return keras.random.normal((BATCH, LATENT), seed=self.seed_generator)

    def step(self, data):
        real = data[0] if isinstance(data, tuple) else data
        both = ops.concatenate([self.generator(self.noise()), real])
        truth = ops.concatenate([ops.ones((BATCH, 1)), ops.zeros((BATCH, 1))])
        truth += 0.05 * keras.random.uniform(ops.shape(truth), seed=self.seed_generator)
        discriminator, generator = self.discriminator, self.generator
        d_loss = self.descend(
            self.d_optimizer,
            discriminator.trainable_variables,
            lambda: _BINARY(truth, discriminator(both)),
        )
        noise, misleading = self.noise(), ops.zeros((BATCH, 1))
        g_loss = self.descend(
            self.g_optimizer,
            generator.trainable_variables,
            lambda: _BINARY(misleading, discriminator(generator(noise))),
        )
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {one.name: one.result() for one in self.metrics}


def dcgan():
    adam = keras.optimizers.Adam
    return compiled(DCGAN(), d_optimizer=adam(0.01), g_optimizer=adam(0.02))


class WGAN(DCGAN):
    """Several steps of the critic, a gradient penalty, noise of the framework's own generator."""

    def noise(self):
        if FRAMEWORK == "tensorflow":
            import tensorflow as tf

            return tf.random.normal((BATCH, LATENT))
        return super().noise()

    def critic_loss(self, real, fake):
        between = real + 0.3 * (fake - real)
        slope = gradient_at(lambda x: self.discriminator(x, training=True), between)
        penalty = ops.mean((ops.sqrt(ops.sum(slope**2, axis=1)) - 1) ** 2)
        return ops.mean(self.discriminator(fake)) - ops.mean(self.discriminator(real)) + penalty

    def step(self, data):
        real = data[0] if isinstance(data, tuple) else data
        for _ in range(2):
            fake = ops.stop_gradient(self.generator(self.noise(), training=True))
            d_loss = self.descend(
                self.d_optimizer,
                self.discriminator.trainable_variables,
                lambda fake=fake: self.critic_loss(real, fake),
            )
        noise = self.noise()
        g_loss = self.descend(
            self.g_optimizer,
            self.generator.trainable_variables,
            lambda: -ops.mean(self.discriminator(self.generator(noise, training=True))),
        )
        return {"d_loss": d_loss, "g_loss": g_loss}


def wgan_gp():
    adam = keras.optimizers.Adam
    return compiled(WGAN(), d_optimizer=adam(0.01, beta_1=0.5), g_optimizer=adam(0.02, beta_1=0.5))


class Sampling(keras.layers.Layer):
    """Draws a point near a mean."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator(1337)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


class VAE(Custom):
    """Two networks, one optimizer, trackers of the losses, a sampling layer."""

    def __init__(self):
        super().__init__()
        inputs = keras.Input((WIDTH,))
        hidden = keras.layers.Dense(5, activation="relu")(inputs)
        mean = keras.layers.Dense(LATENT)(hidden)
        log_variance = keras.layers.Dense(LATENT)(hidden)
        drawn = Sampling()([mean, log_variance])
        self.encoder = keras.Model(inputs, [mean, log_variance, drawn], name="encoder")
        self.decoder = mlp(LATENT, 5, WIDTH, name="decoder")
        names = ("loss", "reconstruction_loss", "kl_loss")
        self.trackers = [keras.metrics.Mean(name=name) for name in names]

    @property
    def metrics(self):
        return self.trackers

    def call(self, x):
        return self.decoder(self.encoder(x)[2])

    def step(self, data):
        x = data[0] if isinstance(data, tuple) else data
        parts = []

        def loss():
            mean, log_variance, drawn = self.encoder(x)
            reconstruction = ops.mean(ops.sum((x - self.decoder(drawn)) ** 2, axis=1))
            kl = -0.5 * (1 + log_variance - mean**2 - ops.exp(log_variance))
            return reconstruction + ops.mean(ops.sum(kl, axis=1))

        parts.append(self.descend(self.optimizer, self.trainable_variables, loss))
        for tracker in self.trackers:
            tracker.update_state(parts[0])
        return {one.name: one.result() for one in self.metrics}


def vae():
    model = compiled(VAE(), "adam")
    model.build((None, WIDTH))
    return model


class DDIM(Custom):
    """A normalizer, an EMA copy of the network, noise of Keras's global seed generator."""

    def __init__(self):
        super().__init__()
        self.normalizer = keras.layers.Normalization()
        self.network = mlp(WIDTH + 1, 6, WIDTH, name="network")
        self.ema_network = keras.models.clone_model(self.network)
        self.ema_network.set_weights(self.network.get_weights())
        # On JAX a step has no access to the global generator.
        self.seeds = keras.random.SeedGenerator(3) if FRAMEWORK == "jax" else None
        self.noise_loss = keras.metrics.Mean(name="n_loss")

    @property
    def metrics(self):
        return [self.noise_loss]

    def call(self, x):
        return self.ema_network(ops.concatenate([x, x[:, :1]], axis=1))

    def step(self, data):
        x = self.normalizer(data[0] if isinstance(data, tuple) else data)
        noise = keras.random.normal((BATCH, WIDTH), seed=self.seeds)
        time = keras.random.uniform((BATCH, 1), seed=self.seeds)
        noisy = ops.sin(time) * noise + ops.cos(time) * x
        loss = self.descend(
            self.optimizer,
            self.network.trainable_variables,
            lambda: ops.mean(ops.abs(noise - self.network(ops.concatenate([noisy, time], axis=1)))),
        )
        self.noise_loss.update_state(loss)
        for weight, average in zip(self.network.weights, self.ema_network.weights, strict=True):
            average.assign(0.9 * average + 0.1 * weight)
        return {one.name: one.result() for one in self.metrics}


def ddim():
    model = DDIM()
    model.normalizer.adapt(_data())
    model.build((None, WIDTH))
    compiled(model, keras.optimizers.AdamW(0.01, weight_decay=1e-4))
    if FRAMEWORK == "jax":  # else Keras builds it for all variables, EMA copies included
        model.optimizer.build(model.network.trainable_variables)
    return model


def _data():
    from .base import features

    return features()


SHAPES = {
    "dcgan": Shape(dcgan, ending=".keras"),
    "wgan_gp": Shape(
        wgan_gp,
        ending=".keras",
        differs="RandomStandardNormal" if FRAMEWORK == "tensorflow" else None,
    ),
    "vae": Shape(vae),
    "ddim": Shape(ddim),
}
