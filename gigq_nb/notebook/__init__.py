"""What needs a notebook: live views, magics, cells as jobs, DataFrames."""
