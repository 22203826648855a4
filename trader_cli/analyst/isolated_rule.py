"""The process of its own in which a rule is tried: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import sys

from trader_cli.analyst.isolated_process import answer
from trader_cli.analyst.rule_certificates import answered

if __name__ == "__main__":
    answer(answered(json.load(sys.stdin)))
