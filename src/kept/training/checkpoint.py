"""placeholder."""


class ModelCheckpoint: ...
