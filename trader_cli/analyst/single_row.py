"""One row through a booster by LightGBM's call for single rows: what hangs on the booster is prepared once.

The same bits as `Booster.predict`, whose checks and conversions take longer than the trees.
Source: LightGBM C API, `LGBM_BoosterPredictForMatSingleRowFast`.
"""

from __future__ import annotations

from ctypes import byref, c_char_p, c_double, c_int32, c_int64, c_void_p
from typing import TYPE_CHECKING
from weakref import finalize

if TYPE_CHECKING:
    import numpy as np
    from lightgbm import Booster
    from numpy.typing import NDArray

    Singles = NDArray[np.float32]

_RAW_SCORE, _FLOAT32, _ALL_TREES = 1, 0, -1


class SingleRow:
    """A booster that is asked for rows of its own width."""

    def __init__(self, booster: Booster) -> None:
        from lightgbm.basic import _LIB, _safe_call

        self._booster, self._width = booster, booster.num_feature()
        self._call, self._check = _LIB.LGBM_BoosterPredictForMatSingleRowFast, _safe_call
        self._prepared, self._length = c_void_p(), byref(c_int64())
        shape = _RAW_SCORE, 0, _ALL_TREES, _FLOAT32, c_int32(self._width)
        told = c_char_p(b"num_threads=1"), byref(self._prepared)
        _safe_call(_LIB.LGBM_BoosterPredictForMatSingleRowFastInit(booster._handle, *shape, *told))
        finalize(self, _LIB.LGBM_FastConfigFree, self._prepared)

    def raw_score(self, row: Singles) -> float:
        """Log-odds of a row (1, f) or (f,). Raises `ValueError` for another width."""
        if row.size != self._width:
            raise ValueError(f"a row of {row.size} features for a booster of {self._width}")
        answer = c_double()
        failed = self._call(self._prepared, row.tobytes(), self._length, byref(answer))
        if failed:
            self._check(failed)
        return answer.value
