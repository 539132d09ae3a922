"""Prints one table of all operators after `make bench`."""

COLUMNS = (
    "op", "size", "eager us", "compile us", "native us", "in graph us", "x eager", "x compile",
    "% roofline",
)  # fmt: skip


def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    rows = [COLUMNS]
    for bench in getattr(session, "benchmarks", []):
        info = bench.extra_info
        if "op" not in info:
            continue
        us = info["us"]
        graph = info["in_graph_us"]
        rows.append((
            info["op"], info["size"], f"{us['eager']:.0f}", f"{us['torch.compile']:.0f}",
            f"{us['native']:.0f}", "-" if graph is None else f"{graph:.1f}",
            f"{info['times_eager']:.2f}", f"{info['times_compile']:.2f}",
            f"{info['roofline_percent']:.0f}",
        ))  # fmt: skip
    if len(rows) == 1:
        return
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    first = next(b.extra_info for b in session.benchmarks if "op" in b.extra_info)
    terminalreporter.section("operators")
    terminalreporter.write_line(
        f"{first['hardware']}; torch {first['torch']}; medians of {first['turns']} turns, of 3 for "
        f"the largest; ratios are paired within a turn; roofline: copy at "
        f"{first['copy_GB_per_s']} GB/s"
    )
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        terminalreporter.write_line("  ".join(cells))
