"""Made-up dates, as people write them and as ISO 8601 has them: a language small enough to learn in a minute."""

import datetime
import random

_FIRST, _LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _written(date: datetime.date, draw: random.Random) -> str:
    month, weekday = _MONTHS[date.month - 1], _DAYS[date.weekday()]
    day, year = date.day, date.year
    ways = (
        f"{day} {month} {year}",
        f"{month} {day}, {year}",
        f"{day} {month[:3]} {year}",
        f"{month[:3]} {_ordinal(day)}, {year}",
        f"{weekday}, {month} {day}, {year}",
        f"{weekday[:3]} {day} {month[:3]} {year}",
        f"the {_ordinal(day)} of {month}, {year}",
        f"{day:02}.{date.month:02}.{year}",
        f"{date.month}/{day}/{year}",
    )
    return ways[int(draw.random() * len(ways))]


def date_pairs(count: int) -> list[tuple[str, str]]:
    """Returns pairs such as `("the 4th of may, 1998", "1998-05-04")`, always the same ones, no date twice.

    With dots the day comes first, with strokes the month, as is usual where people write so.

    Args:
        count: How many, up to the 36,525 days of a century.
    """
    # By random() alone: of nothing else Python promises that it stays the same.
    draw = random.Random(0)
    days = sorted(range((_LAST - _FIRST).days + 1), key=lambda _: draw.random())
    dates = (_FIRST + datetime.timedelta(days=day) for day in days[:count])
    return [(_written(date, draw), date.isoformat()) for date in dates]
