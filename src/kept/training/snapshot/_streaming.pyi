from typing import Any

import numpy as np

# Any two buffers work. NumPy's arrays are no Buffer for type checkers on Python 3.11.
def copy(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any], /) -> None: ...
