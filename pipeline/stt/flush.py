"""What a stage may ask of a recogniser that hears with a delay: the words of the speech so far, now."""

from __future__ import annotations

from dataclasses import dataclass

from pipecat.frames.frames import SystemFrame


@dataclass
class FlushSTTFrame(SystemFrame):
    """Goes upstream to the recogniser when the voice pauses, long before the voice detector calls the speech over.

    One that can answers with an ``EagerTranscriptionFrame``: all words since its last final transcript, at once and without
    waiting for more audio. It must go on as if it had not been asked: the learner may be in the middle of a sentence. Others
    pass it on.

    ``commit``: the turn is over. The words of the last such answer are final, if nothing but silence came since: they are given
    again as a ``TranscriptionFrame`` that is ``finalized``, at once, and not once more when the voice detector stops.
    """

    commit: bool = False
