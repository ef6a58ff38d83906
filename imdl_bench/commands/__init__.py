"""One file per command of ``imdl-bench``: its options, the call behind it, what is printed."""
