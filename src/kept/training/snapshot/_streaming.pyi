from typing import Any

import numpy as np

# Any two buffers of bytes will do; NumPy's arrays are none to type checkers on Python 3.11.
def copy(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any], /) -> None: ...
