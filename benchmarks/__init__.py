"""The long benchmarks: ``python -m benchmarks [TOPIC...]``.

A topic is a module here with a `TOPIC` (see `harness`).  Timings are rawsys.bench's; `limits` compiles the C that a
row is compared with; `report` prints, `chart` draws from the JSON.
"""
