"""Everything that looks at trained runs: pictures, reports, comparisons and benchmarks."""
