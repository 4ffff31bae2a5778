"""What short forms and signs stand for: abbreviations, units, currencies, symbols, months. Tables only."""

from __future__ import annotations

ABBREVIATIONS = {
    "e.g": "for example", "i.e": "that is", "mr": "Mister", "mrs": "Missus", "dr": "Doctor", "prof": "Professor",
    "vs": "versus", "approx": "approximately", "a.k.a": "also known as", "cf": "compare", "mt": "Mount", "govt": "government",
    "viz": "namely",
}  # fmt: skip
"""With a full stop behind them (the key is without it), which goes: none of them ends a sentence."""
ENDINGS = {
    "etc": "et cetera", "jr": "Junior", "sr": "Senior", "inc": "Incorporated", "ltd": "Limited", "corp": "Corporation",
    "dept": "Department", "ave": "Avenue", "blvd": "Boulevard", "rd": "Road",
}  # fmt: skip
"""The same, but these may end a sentence: then the full stop stays."""
BARE = {
    "eg": "for example", "e.g": "for example", "i.e": "that is", "etc": "et cetera", "vs": "versus", "w/": "with",
    "w/o": "without", "b/c": "because", "aka": "also known as", "Mr": "Mister", "Mrs": "Missus", "Dr": "Doctor",
    "Prof": "Professor", "and/or": "and or", "24/7": "twenty-four seven", "9/11": "nine eleven", "20/20": "twenty twenty",
    "C#": "C sharp",
    "F#": "F sharp", "C++": "C plus plus", "Q&A": "Q and A", "<3": "",
}  # fmt: skip
"""Just as they are written, without a full stop."""
BEFORE_NUMBER = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume", "ch": "chapter", "fig": "figure",
    "sec": "section", "ex": "exercise", "tel": "telephone",
    "jan": "January", "feb": "February", "mar": "March", "apr": "April", "jun": "June", "jul": "July", "aug": "August",
    "sep": "September", "sept": "September", "oct": "October", "nov": "November", "dec": "December",
}  # fmt: skip
"""With a full stop, and only before a number: "No." alone is an answer."""
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip

CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "US$": ("US dollar", "US dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("rouble", "roubles", "kopeck", "kopecks"),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₴": ("hryvnia", "hryvnias", "kopiyka", "kopiykas"),
    "₿": ("bitcoin", "bitcoins", "", ""),
}
"""Sign: one, many, one and many of its hundredth."""
SCALES = {
    "k": "thousand", "K": "thousand", "m": "million", "M": "million", "mn": "million", "b": "billion", "B": "billion",
    "bn": "billion", "tn": "trillion", "thousand": "thousand", "million": "million", "billion": "billion",
    "trillion": "trillion",
}  # fmt: skip
"""Behind an amount of money."""

UNITS: dict[str, tuple[str, str]] = {
    "km": ("kilometer", "kilometers"), "m": ("meter", "meters"), "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"), "mi": ("mile", "miles"), "ft": ("foot", "feet"), "yd": ("yard", "yards"),
    "kg": ("kilogram", "kilograms"), "g": ("gram", "grams"), "mg": ("milligram", "milligrams"), "lb": ("pound", "pounds"),
    "lbs": ("pound", "pounds"), "oz": ("ounce", "ounces"), "l": ("liter", "liters"), "L": ("liter", "liters"),
    "ml": ("milliliter", "milliliters"), "mL": ("milliliter", "milliliters"), "cl": ("centiliter", "centiliters"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "min": ("minute", "minutes"),
    "mins": ("minute", "minutes"), "s": ("second", "seconds"), "sec": ("second", "seconds"), "secs": ("second", "seconds"),
    "ms": ("millisecond", "milliseconds"), "kB": ("kilobyte", "kilobytes"), "KB": ("kilobyte", "kilobytes"),
    "MB": ("megabyte", "megabytes"), "GB": ("gigabyte", "gigabytes"), "TB": ("terabyte", "terabytes"),
    "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "W": ("watt", "watts"), "kW": ("kilowatt", "kilowatts"),
    "kWh": ("kilowatt hour", "kilowatt hours"), "V": ("volt", "volts"), "dB": ("decibel", "decibels"),
    "kcal": ("kilocalorie", "kilocalories"), "cal": ("calorie", "calories"), "ha": ("hectare", "hectares"),
    "mph": ("mile per hour", "miles per hour"), "kmh": ("kilometer per hour", "kilometers per hour"),
    "km/h": ("kilometer per hour", "kilometers per hour"), "kph": ("kilometer per hour", "kilometers per hour"),
    "m/s": ("meter per second", "meters per second"), "fps": ("frame per second", "frames per second"),
    "m²": ("square meter", "square meters"), "km²": ("square kilometer", "square kilometers"),
    "m³": ("cubic meter", "cubic meters"), "cm²": ("square centimeter", "square centimeters"),
    "%": ("percent", "percent"), "‰": ("per mille", "per mille"), "°": ("degree", "degrees"),
    "°C": ("degree Celsius", "degrees Celsius"), "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "℃": ("degree Celsius", "degrees Celsius"), "℉": ("degree Fahrenheit", "degrees Fahrenheit"),
    "pts": ("point", "points"), "x": ("time", "times"),
}  # fmt: skip
"""Right behind a number, or as the next word."""
SYMBOLS = {
    "&": "and", "+": "plus", "=": "equals", "×": "times", "÷": "divided by", "<": "less than", ">": "greater than",
    "@": "at", "#": "number", "%": "percent", "±": "plus or minus", "≈": "about", "≠": "is not equal to", "≤": "at most",
    "≥": "at least", "−": "minus", "°": "degrees", "∞": "infinity", "√": "the square root of", "~": "about",
    "§": "section",
}  # fmt: skip
"""Signs that stand alone or before a number."""

TOP_LEVEL = frozenset(
    ["com", "org", "net", "edu", "gov", "io", "ai", "app", "dev", "info", "co", "uk", "us", "de", "fr", "es", "it", "eu", "ch",
     "nl", "se", "no", "fi", "pl", "pt", "br", "ca", "au", "nz", "jp", "cn", "in", "ru", "tv", "me"]
)  # fmt: skip
"""What the last part of a web address may be where neither "www" nor "http" comes first."""
