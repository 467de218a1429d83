# SPDX-License-Identifier: BSD-3-Clause
"""A bar for each that took part, a group of bars for each case, as an SVG image."""

import html

COLOURS = {"pollux": "#1b6ca8", "default": "#d98c3f", "best": "#a8501b", "bare": "#9a9a9a"}
LABELS = {"pollux": "Pollux", "default": "DPDK, default", "best": "DPDK, its best",
          "bare": "loop without a driver"}
NAMES, WIDTH, BAR, GAP, TOP = 330, 560, 13, 14, 70


def text(x, y, words, size=12, anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">'
            f'{html.escape(words)}</text>')


def bar(y, name, found, scale):
    """A bar as long as the median, with a line from the least to the most."""
    middle = y + BAR / 2
    return [f'<rect x="{NAMES}" y="{y}" width="{found["median"] * scale:.1f}" height="{BAR - 2}" '
            f'fill="{COLOURS[name]}"/>',
            f'<line x1="{NAMES + found["least"] * scale:.1f}" y1="{middle - 1}" '
            f'x2="{NAMES + found["most"] * scale:.1f}" y2="{middle - 1}" stroke="black"/>',
            text(NAMES + found["most"] * scale + 5, middle + 3, f'{found["median"]:.1f}', 10)]


def svg(title, subtitle, groups):
    """`groups`: pairs of a case's name and the summaries of those that took part, in Mpps."""
    scale = WIDTH / max(found["most"] for _, bars in groups for found in bars.values())
    parts, y = [], TOP
    for name, bars in groups:
        parts.append(text(NAMES - 8, y + BAR * len(bars) / 2 + 4, name, anchor="end"))
        for which, found in bars.items():
            parts += bar(y, which, found, scale)
            y += BAR
        y += GAP
    legend = []
    for i, (which, label) in enumerate(LABELS.items()):
        x = NAMES + i * 145
        legend += [f'<rect x="{x}" y="46" width="11" height="11" fill="{COLOURS[which]}"/>',
                   text(x + 16, 56, label)]
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{NAMES + WIDTH + 60}" height="{y}" '
            'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>')
    return "\n".join([head, text(10, 20, title, 15), text(10, 38, subtitle, 11), *legend, *parts,
                      "</svg>", ""])
