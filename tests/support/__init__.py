"""What tests share, by subject.

- `market`: made-up bars, zips as the bulk archive has them, digests of what other numbers of threads make
- `training`: a whole training on a market
- `commands`: `trader` as a process, as a fork of a warm one or inside this one; folders made once for a whole run
- `hosts`: a Binance-compatible host that answers what a test writes, keeps what it is asked, or serves a tape; a venue in
  a process of its own; a client of a few lines; keys
- `trading`: desks, hostile ones too, in virtual time; paper accounts beside the exchange's; entries that are killed
"""
