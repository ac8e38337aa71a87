"""What a sweep says at its end: tables, figures, a page, and how many pairs the next one needs."""
