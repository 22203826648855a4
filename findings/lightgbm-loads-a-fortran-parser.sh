#!/usr/bin/env bash
# lightgbm 4.7.0 with scipy 1.17.1 and numpy 2.4.6: `import lightgbm` loads numpy's Fortran parser, and what guesses
# encodings for it where that is installed.
#
# lightgbm asks scipy for its sparse matrices; scipy.sparse brings scipy's layer over array libraries, and that takes every
# public name of numpy, `f2py` among them, which numpy loads only when somebody asks for it. With it come f2py's parser of
# Fortran sources and, if any other package has installed it, charset_normalizer with its tables: code that reads text of
# unknown encodings, in a process that wants a gradient booster. `import numpy, scipy` alone loads neither.
#
# It is no error; it is a tenth of a second or so of every start of a command-line tool that predicts with lightgbm, and a
# parser more in the process that holds keys. What costs can be seen by `python -X importtime`. A way out is to predict in
# a process that stays.
#
# Seen with lightgbm 4.7.0, scipy 1.17.1, numpy 2.4.6, charset-normalizer 3.4.7 on Python 3.11; the output is compared below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
  lightgbm==4.7.0 scipy==1.17.1 numpy==2.4.6 charset-normalizer==3.4.7
for names in "numpy, scipy" "scipy.sparse" "lightgbm"; do
  "$folder/venv/bin/python" - "$names" <<'PY'
import sys

exec(f"import {sys.argv[1]}")
asked = ("scipy._lib.array_api_compat.numpy", "numpy.f2py.crackfortran", "charset_normalizer.md")
print(f"import {sys.argv[1]}:", ", ".join(name for name in asked if name in sys.modules) or "none of them")
PY
done > "$folder/seen"
cat "$folder/seen"
diff "$folder/seen" - <<'SEEN'
import numpy, scipy: none of them
import scipy.sparse: scipy._lib.array_api_compat.numpy, numpy.f2py.crackfortran, charset_normalizer.md
import lightgbm: scipy._lib.array_api_compat.numpy, numpy.f2py.crackfortran, charset_normalizer.md
SEEN
