"""What the tutor says when something went wrong: short, for every level, and said by whatever voice is left."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.faults.watch import Stage

APOLOGY: Mapping[Stage, str] = {
    "stt": "Sorry, I could not hear that. Please say it again.",
    "llm": "Sorry, I lost my words. Please say that again.",
    "tts": "Sorry, my voice failed. Please read my words on the screen.",
}
GIVING_UP = "Sorry, something is wrong on my side. Let's stop here. Your report is coming. Goodbye!"
TIME_IS_UP = "Our time is up for today. Thank you for talking with me. Goodbye!"
NOBODY_THERE = "I cannot hear you, so I will hang up now. See you next time. Goodbye!"

ON_SCREEN: Mapping[Stage, str] = {
    "stt": "Your words could not be recognised. Please say it again.",
    "llm": "The tutor could not think of an answer. Please say it again.",
    "tts": "The tutor's voice failed. Its words are on the screen.",
}
"""For the page, beside what is said."""

SPOKEN = (*APOLOGY.values(), GIVING_UP, TIME_IS_UP, NOBODY_THERE)
"""Every line that the spare voice has to know."""
