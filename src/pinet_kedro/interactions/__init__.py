"""Events -> clean events -> integer sequences -> split.

Three facts hold in the whole package:

- **Item 0 is padding.** Items are numbered 1..I in the order of their sorted raw ids, users 0..U-1 likewise.
- **Histories are left-padded:** the last position of a row is the newest event. A history that is longer than the
  window is truncated to its newest events.
- **Ties in time keep the order of the file** (stable sort), because published metrics depend on it.
"""
