"""Where images are scored: in this process (``local``), or by workers on one or many machines (``ray``)."""
